//! `fastsmtp documents`: man pages and shell completions, for those who make packages and for `/usr/local/share`.
//!
//! All of it is made from the command line's own table, so that it cannot say anything else than `--help` does. The files
//! lie where Debian, Fedora, Arch and the shells themselves look for them below a `share` directory:
//!
//! ```text
//!   DIR/man/man1/fastsmtp.1, fastsmtp-user.1, fastsmtp-user-add.1, ...
//!   DIR/bash-completion/completions/fastsmtp
//!   DIR/zsh/site-functions/_fastsmtp
//!   DIR/fish/vendor_completions.d/fastsmtp.fish
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use super::exit::{Exit, Failure};
use super::output::{counted, print, printable};

/// What `fastsmtp documents` is asked.
#[derive(Args)]
#[command(after_help = AFTER)]
pub struct Documents {
    /// The directory that gets them, like /usr/local/share; it is created if need be
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

const AFTER: &str = "\
Man pages go into DIR/man/man1, completions where bash, zsh and fish look for
them: DIR/bash-completion/completions, DIR/zsh/site-functions and
DIR/fish/vendor_completions.d. Files of these names are replaced.

Examples:
  fastsmtp documents /usr/local/share
      so that 'man fastsmtp' and the Tab key know it
  fastsmtp documents debian/fastsmtp/usr/share
      for a package";

/// Writes all documents of `command`, the whole command line.
pub fn run(asked: Documents, command: Command) -> Result<(), Failure> {
    let directory = asked.directory;
    let command = command.disable_help_subcommand(true);
    let failed = |(path, error): (PathBuf, io::Error)| {
        let path = printable(path.as_os_str().as_encoded_bytes());
        let sentence = format!("{path}: cannot be created: {error}; name a directory that you may write to");
        Failure::new(Exit::CannotCreate, sentence)
    };
    let pages = pages(command.clone());
    let completions = completions(command);
    for (name, content) in pages.iter().chain(&completions) {
        write(&directory.join(name), content).map_err(failed)?;
    }
    let (pages, completions) = (counted(pages.len(), "man page"), counted(completions.len(), "completion"));
    let place = printable(directory.as_os_str().as_encoded_bytes());
    print(format!("{pages} and {completions} are in {place}\n").as_bytes())
}

/// A file's name below the directory, and what it holds.
type Document = (String, Vec<u8>);

fn write(path: &Path, content: &[u8]) -> Result<(), (PathBuf, io::Error)> {
    let directory = path.parent().expect("each name has a directory before it");
    fs::create_dir_all(directory).map_err(|error| (directory.to_owned(), error))?;
    fs::write(path, content).map_err(|error| (path.to_owned(), error))
}

fn completions(mut command: Command) -> Vec<Document> {
    let name = command.get_name().to_owned();
    let shells = [
        (Shell::Bash, format!("bash-completion/completions/{name}")),
        (Shell::Zsh, format!("zsh/site-functions/_{name}")),
        (Shell::Fish, format!("fish/vendor_completions.d/{name}.fish")),
    ];
    let mut completion = |(shell, file)| {
        let mut content = Vec::new();
        clap_complete::generate(shell, &mut command, &name, &mut content);
        (file, content)
    };
    shells.into_iter().map(&mut completion).collect()
}

/// One page for the command and each of its subcommands, at any depth.
fn pages(mut command: Command) -> Vec<Document> {
    command.build();
    let source = format!("{} {}", command.get_name(), command.get_version().unwrap_or_default());
    let mut pages = Vec::new();
    add_pages(&command, &source, &mut pages);
    pages
}

fn add_pages(command: &Command, source: &str, pages: &mut Vec<Document>) {
    let name = command.get_display_name().unwrap_or(command.get_name());
    pages.push((format!("man/man1/{name}.1"), page(command, source).expect("a Vec takes all")));
    for each in command.get_subcommands().filter(|each| !each.is_hide_set()) {
        add_pages(each, source, pages);
    }
}

/// A whole page. Ours are the title, which without a date would lose its place for one; the synopsis, which would name each of
/// forty options; and what stands behind the options, which is laid out already.
fn page(command: &Command, source: &str) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone());
    let title = command.get_display_name().unwrap_or(command.get_name()).to_uppercase();
    let mut page = format!(".TH {title} 1 \"\" \"{source}\" \"fastsmtp manual\"\n").into_bytes();
    man.render_name_section(&mut page)?;
    page.extend(synopsis(command).into_bytes());
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.get_subcommands().any(|each| !each.is_hide_set()) {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(after) = command.get_after_long_help().or_else(|| command.get_after_help()) {
        page.extend(sections(&after.to_string()).into_bytes());
    }
    Ok(page)
}

/// The usage, as the help has it.
fn synopsis(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    let forms = usage.trim_start_matches("Usage:").lines().map(|form| escaped(form.trim()));
    format!(".SH SYNOPSIS\n.nf\n{}\n.fi\n", forms.collect::<Vec<_>>().join("\n"))
}

/// The text behind the options, as `--help` has it, in roff. `Examples:` at the margin begins a section, in which commands
/// are indented by two and keep their lines, and what they do by six; elsewhere what is indented by six keeps its lines, a
/// number at the beginning of a line is explained by the rest of it, and all else is prose.
fn sections(text: &str) -> String {
    let mut page = Page { text: ".SH NOTES\n".to_owned(), block: Block::Prose };
    let mut are_examples = false;
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let is_continued = ["\\e\\fR\n", "|\\fR\n"].iter().any(|end| page.text.ends_with(end));
        match line.trim_start() {
            "" => {
                page.enter(Block::Prose);
                page.paragraph();
            }
            heading if indent == 0 && heading.ends_with(':') => {
                are_examples = heading == "Examples:";
                page.section(heading.trim_end_matches(':'));
            }
            command if are_examples && (indent == 2 || is_continued) => {
                let spaces = " ".repeat(indent - 2);
                page.line(Block::Command, &format!("\\fB{spaces}{}\\fR", escaped(command)));
            }
            _ if indent >= 6 && !are_examples => page.line(Block::Verbatim, &escaped(&line[6..])),
            does if are_examples => page.line(Block::Explanation, &escaped(does)),
            prose => match prose.split_once("  ") {
                Some((number, meaning)) if number.parse::<u32>().is_ok() => {
                    page.line(Block::Prose, &format!(".TP\n{number}\n{}", escaped(meaning)));
                }
                _ => page.line(Block::Prose, &escaped(prose)),
            },
        }
    }
    page.enter(Block::Prose);
    page.text.strip_prefix(".SH NOTES\n.SH").map(|rest| format!(".SH{rest}")).unwrap_or(page.text)
}

/// A page on its way, and what its last lines are.
struct Page {
    text: String,
    block: Block,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    Prose,
    Verbatim,
    Command,
    Explanation,
}

impl Block {
    /// The requests before it and behind it.
    fn requests(self) -> [&'static str; 2] {
        match self {
            Block::Prose => ["", ""],
            Block::Verbatim => [".RS 4\n.nf\n", ".fi\n.RE\n"],
            Block::Command => [".nf\n", ".fi\n"],
            Block::Explanation => [".RS 4\n", ".RE\n"],
        }
    }
}

impl Page {
    fn enter(&mut self, block: Block) {
        if block != self.block {
            self.text.push_str(self.block.requests()[1]);
            self.block = block;
            if block == Block::Command {
                self.paragraph();
            }
            self.text.push_str(block.requests()[0]);
        }
    }

    fn line(&mut self, block: Block, line: &str) {
        self.enter(block);
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// Begins a paragraph, unless the last line did, or a section.
    fn paragraph(&mut self) {
        let last = self.text.trim_end().rsplit('\n').next().unwrap_or_default();
        if last != ".PP" && !last.starts_with(".SH ") {
            self.text.push_str(".PP\n");
        }
    }

    fn section(&mut self, heading: &str) {
        self.enter(Block::Prose);
        if let Some(rest) = self.text.strip_suffix(".PP\n") {
            self.text.truncate(rest.len());
        }
        self.line(Block::Prose, &format!(".SH {}", escaped(&heading.to_uppercase())));
    }
}

/// A line as roff takes it for text: a hyphen stays one that can be copied to a command line, and a dot or an apostrophe at
/// the beginning is no request.
fn escaped(line: &str) -> String {
    let text = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('`', "\\(ga");
    if text.starts_with('.') { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_text_whatever_it_begins_with() {
        assert_eq!(escaped(".SH --data 'a\\b'"), "\\&.SH \\-\\-data \\(aqa\\eb\\(aq");
    }

    #[test]
    fn headings_become_sections_and_commands_keep_their_lines() {
        let text = "\
Some prose,
filled.

File:
  Write it:

      a = 1

Examples:
  one --two \\
      three
      does it
  four

Exit codes:
    0  fine";
        let page = r".SH NOTES
Some prose,
filled.
.SH FILE
Write it:
.PP
.RS 4
.nf
a = 1
.fi
.RE
.SH EXAMPLES
.nf
\fBone \-\-two \e\fR
\fB    three\fR
.fi
.RS 4
does it
.RE
.PP
.nf
\fBfour\fR
.fi
.SH EXIT CODES
.TP
0
fine
";
        assert_eq!(sections(text), page);
        assert!(sections("Examples:\n  one").starts_with(".SH EXAMPLES\n"));
    }

    #[test]
    fn what_stands_behind_the_options_fits_a_terminal() {
        fn wide(command: &Command) -> Vec<String> {
            let after = command.get_after_long_help().or_else(|| command.get_after_help());
            let after = after.map(ToString::to_string).unwrap_or_default();
            // A page has the examples' commands five columns further to the right.
            let examples = after.split_once("Examples:\n").map_or("", |(_, examples)| examples);
            let commands = examples.lines().take_while(|line| !line.is_empty());
            let commands = commands.filter(|line| !line.starts_with("      ") && line.chars().count() > 75);
            let too_wide = after.lines().filter(|line| line.chars().count() > 80).chain(commands);
            let below = command.get_subcommands().flat_map(wide);
            too_wide.map(str::to_owned).chain(below).collect()
        }
        let prose = wide(&<crate::cli::CommandLine as clap::CommandFactory>::command());
        assert_eq!(prose, [""; 0]);
    }
}

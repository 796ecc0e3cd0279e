//! What `fastsmtp documents` promises to packagers and to readers: a man page for each command, well formed, and
//! completions that the shells take; and of every `--help`, that it fits a terminal and ends with examples.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::server::{PROGRAM, has_tool};

const CANNOT_CREATE: i32 = 73;
const WIDTH: usize = 80;

fn documents(directory: &Path) -> Output {
    Command::new(PROGRAM).env_clear().arg("documents").arg(directory).output().unwrap()
}

/// The documents, in a directory that vanishes.
fn written() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let share = root.path().join("usr/share");
    let output = documents(&share);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (root, share)
}

fn pages(share: &Path) -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> =
        fs::read_dir(share.join("man/man1")).unwrap().map(|page| page.unwrap().path()).collect();
    pages.sort();
    pages
}

fn help(command: &[String]) -> String {
    let output =
        Command::new(PROGRAM).env_clear().env("COLUMNS", "80").args(command).arg("--help").output().unwrap();
    assert!(output.status.success(), "{command:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The words behind `fastsmtp` of every command at any depth, as the helps list them.
fn commands() -> BTreeSet<Vec<String>> {
    let mut found = BTreeSet::from([Vec::new()]);
    let mut left = vec![Vec::new()];
    while let Some(command) = left.pop() {
        let help = help(&command);
        let Some((_, listed)) = help.split_once("\nCommands:\n") else { continue };
        let lines = listed.lines().take_while(|line| !line.is_empty());
        let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        for name in names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
            let below = [&command[..], &[name.to_owned()]].concat();
            assert!(found.insert(below.clone()), "{below:?} is listed twice");
            left.push(below);
        }
    }
    assert!(found.len() > 10, "{found:?}");
    found
}

#[test]
fn every_command_has_a_page_and_every_page_a_command() {
    let (_root, share) = written();
    let name =
        |words: &Vec<String>| format!("{}.1", [&["fastsmtp".to_owned()], &words[..]].concat().join("-"));
    let expected: BTreeSet<String> = commands().iter().map(name).collect();
    let there: BTreeSet<String> =
        pages(&share).iter().map(|page| page.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(there, expected);
}

#[test]
fn a_page_has_its_title_its_name_and_its_dashes() {
    let (_root, share) = written();
    for page in pages(&share) {
        let text = fs::read_to_string(&page).unwrap();
        let name = page.file_stem().unwrap().to_str().unwrap();
        assert!(text.contains(&format!(".TH {} 1 ", name.to_uppercase())), "{text}");
        let escaped = name.replace('-', "\\-");
        assert!(text.contains(&format!(".SH NAME\n{escaped} \\- ")), "{text}");
        assert!(text.contains(".SH EXAMPLES\n"), "{name} has no examples");
    }
    let page = fs::read_to_string(share.join("man/man1/fastsmtp.1")).unwrap();
    assert!(page.contains("\\fB\\-\\-max\\-message\\-size\\fR"), "{page}");
    assert!(page.contains(".SH EXIT CODES\n.TP\n0\n"), "{page}");
}

#[test]
fn man_shows_each_page_without_a_warning_within_a_terminals_width() {
    if !has_tool("man") {
        return;
    }
    let (_root, share) = written();
    for page in pages(&share) {
        let output = Command::new("man")
            .args(["--warnings", "--no-hyphenation", "--no-justification", "-P", "cat", "-E", "UTF-8", "-l"])
            .arg(&page)
            .env("MANWIDTH", WIDTH.to_string())
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap();
        let (shown, said) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && said.is_empty(), "{}: {said}", page.display());
        let wide: Vec<&str> = shown.lines().filter(|line| line.chars().count() > WIDTH).collect();
        assert!(wide.is_empty(), "{}: {wide:#?}", page.display());
        if page.ends_with("fastsmtp.1") {
            assert!(shown.contains("--max-message-size <SIZE>"), "what is copied from a page works: {shown}");
        }
    }
}

#[test]
fn each_help_fits_a_terminal_and_ends_with_examples() {
    for command in commands() {
        let help = help(&command);
        let wide: Vec<&str> = help.lines().filter(|line| line.chars().count() > WIDTH).collect();
        assert!(wide.is_empty(), "{command:?}: {wide:#?}");
        assert!(help.contains("\nExamples:\n  fastsmtp"), "{command:?} has no examples: {help}");
    }
}

#[test]
fn the_shells_take_their_completions() {
    let (_root, share) = written();
    let files = [
        ("bash", "bash-completion/completions/fastsmtp"),
        ("zsh", "zsh/site-functions/_fastsmtp"),
        ("fish", "fish/vendor_completions.d/fastsmtp.fish"),
    ];
    for (shell, file) in files {
        let file = share.join(file);
        assert!(fs::read_to_string(&file).unwrap().contains("max-message-size"), "{}", file.display());
        if shell != "bash" && std::env::var_os("CI").is_some() {
            continue; // large packages for one look at the syntax
        }
        if has_tool(shell) {
            let output = Command::new(shell).arg("-n").arg(&file).output().unwrap();
            assert!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

#[test]
fn bash_completes_commands_and_options() {
    let (_root, share) = written();
    let complete = |words: &str, last: usize| {
        let script = format!(
            "source '{}'; COMP_WORDS=({words}); COMP_CWORD={last}; \
             _fastsmtp fastsmtp \"${{COMP_WORDS[{last}]}}\" \"${{COMP_WORDS[{last}-1]}}\"; echo \"${{COMPREPLY[*]}}\"",
            share.join("bash-completion/completions/fastsmtp").display()
        );
        let output = Command::new("bash").args(["--norc", "-c", &script]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(complete("fastsmtp us", 1), "user");
    assert_eq!(complete("fastsmtp --max-m", 1), "--max-message-size");
    assert_eq!(complete("fastsmtp user add --qu", 3), "--quota");
}

#[test]
fn documents_are_the_same_each_time_and_replace_those_before() {
    let (_root, share) = written();
    let page = share.join("man/man1/fastsmtp.1");
    let before = fs::read(&page).unwrap();
    fs::write(&page, "of yesterday").unwrap();
    assert!(documents(&share).status.success());
    assert_eq!(fs::read(&page).unwrap(), before);
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    for directory in [file.clone(), file.join("below")] {
        let output = documents(&directory);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(CANNOT_CREATE), "{error}");
        let named = directory.join("man/man1");
        assert!(error.starts_with(&format!("fastsmtp: {}: cannot be created: ", named.display())), "{error}");
        assert_eq!((error.lines().count(), output.stdout.len()), (1, 0), "{error}");
    }
}

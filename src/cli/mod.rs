//! The command line: what was asked, and which file does it. One subcommand, one file; `serve` is the default.

mod columns;
mod compose;
mod connecting;
mod dial;
mod dialogue;
mod documents;
mod editor;
mod eml;
pub mod exit;
mod help;
mod list;
mod mail;
mod mailbox;
mod media_type;
mod menu;
mod output;
mod password;
mod progress;
mod queue;
mod read;
mod reading;
mod remove;
mod send;
mod sending;
mod serve;
mod supervisor;
mod user;
mod wait;

use std::path::PathBuf;

use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand,
    value_parser,
};

use crate::config::{Config, Flags, KEYS, Key, Origin, Setting, Takes};
use crate::machine::Machine;
use exit::Failure;
use output::{printable, printable_lines};

/// An SMTP server whose 250 means durable.
///
/// Takes mail by SMTP and puts it into its recipients' Maildirs. It answers 250 only when the message survives kill -9
/// and power loss. Needs no other set-up.
#[derive(Parser)]
#[command(name = "fastsmtp", version, args_conflicts_with_subcommands = true, after_long_help = help::after())]
struct CommandLine {
    #[command(flatten)]
    serve: Flags,
    #[command(subcommand)]
    asked: Option<Asked>,
}

/// What the program is asked to do.
#[derive(Subcommand)]
enum Asked {
    /// Run the server: the default, the word may be left out.
    #[command(after_long_help = help::after())]
    Serve(Flags),
    /// List, show, release or remove the mail that is held because its mailbox cannot be written.
    Queue(queue::Queue),
    /// Send a mail to a server, this one or any other.
    Send(send::Send),
    /// Add, remove, list and change accounts: who has a mailbox here, and may log in.
    User(user::User),
    /// List the mail in a mailbox: straight from its directory, or from a server.
    List(list::List),
    /// Read a mail: its text, its attachments, or its exact content.
    Read(read::Read),
    /// Wait until a mail is there, and read it.
    Wait(wait::Wait),
    /// Remove mail.
    Remove(remove::Remove),
    /// Compose and read mail, question by question.
    Menu(menu::Menu),
    /// Write man pages and shell completions, for a package or for /usr/local/share.
    Documents(documents::Documents),
}

/// Does what the command line asks.
pub fn run() -> Result<(), Failure> {
    let CommandLine { serve, asked } = CommandLine::try_parse().unwrap_or_else(|error| say_and_end(&error));
    match asked.unwrap_or(Asked::Serve(serve)) {
        Asked::Serve(flags) => serve::run(Config::load(flags, std::env::vars_os(), &Machine::here())?),
        Asked::Queue(asked) => queue::run(asked),
        Asked::Send(asked) => send::run(asked),
        Asked::User(asked) => user::run(asked),
        Asked::Menu(asked) => menu::run(asked),
        Asked::Documents(asked) => documents::run(asked, CommandLine::command()),
        Asked::List(asked) => list::run(asked),
        Asked::Read(asked) => read::run(asked),
        Asked::Wait(asked) => wait::run(asked),
        Asked::Remove(asked) => remove::run(asked),
    }
}

/// Prints what clap says, be it help or what is wrong, and ends. An argument that it repeats cannot steer the terminal: it is
/// said of the same arguments made harmless.
fn say_and_end(said: &clap::Error) -> ! {
    let harmless = std::env::args_os().map(|argument| printable(argument.as_encoded_bytes()));
    if let Err(said) = CommandLine::try_parse_from(harmless) {
        said.exit();
    }
    // They are right but for what was made harmless.
    crate::logging::say(printable_lines(&said.render().to_string()).trim_end());
    std::process::exit(said.exit_code())
}

/// The flags of `serve`: one for each key, and the two that are no keys.
impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new(CONFIG)
            .long(CONFIG)
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help_heading("Configuration")
            .help("Read this TOML file; its keys are the names of these options. Variables and flags come before it");
        let check = Arg::new(CHECK_CONFIG)
            .long(CHECK_CONFIG)
            .action(ArgAction::SetTrue)
            .help_heading("Configuration")
            .help("Check all options, print them as such a file, and exit");
        command.args(KEYS.iter().map(argument)).args([config, check])
    }

    fn augment_args_for_update(command: Command) -> Command {
        Flags::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Flags, clap::Error> {
        let given = |key: &'static Key| {
            let values = matches.get_many::<String>(key.name)?.cloned().collect();
            Some(Setting { key, values, origin: Origin::Flag })
        };
        Ok(Flags {
            settings: KEYS.iter().filter_map(given).collect(),
            file: matches.get_one::<PathBuf>(CONFIG).cloned(),
            check_config: matches.get_flag(CHECK_CONFIG),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Flags::from_arg_matches(matches)?;
        Ok(())
    }
}

const CONFIG: &str = "config";
const CHECK_CONFIG: &str = "check-config";

/// The flag of a key.
fn argument(key: &'static Key) -> Arg {
    let argument = Arg::new(key.name)
        .long(key.name)
        .value_name(key.value)
        .help_heading(key.heading)
        .help(format!("{} [default: {}]", key.help, help::default(key)));
    match key.takes {
        Takes::List(_) => argument.action(ArgAction::Append),
        Takes::One(_) | Takes::Number(_) => argument.action(ArgAction::Set),
        Takes::Switch(_) => {
            argument.action(ArgAction::Set).num_args(0..=1).require_equals(true).default_missing_value("true")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(line: &str) -> Vec<(&'static str, Vec<String>)> {
        let parsed = CommandLine::try_parse_from(line.split(' ')).unwrap();
        let Asked::Serve(flags) = parsed.asked.unwrap_or(Asked::Serve(parsed.serve)) else {
            panic!("{line}")
        };
        flags.settings.into_iter().map(|each| (each.key.name, each.values)).collect()
    }

    #[test]
    fn the_command_line_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn serve_may_be_left_out() {
        let expected =
            vec![("listen", vec!["a:1".to_owned(), "b:2".to_owned()]), ("log", vec!["warn".to_owned()])];
        assert_eq!(flags("fastsmtp --listen a:1 --log warn --listen b:2"), expected);
        assert_eq!(flags("fastsmtp serve --listen a:1 --log warn --listen b:2"), expected);
        assert_eq!(flags("fastsmtp"), []);
        assert!(CommandLine::try_parse_from(["fastsmtp", "--log", "warn", "serve"]).is_err());
        assert!(CommandLine::try_parse_from(["fastsmtp", "--log", "warn", "--log", "info"]).is_err());
    }
}

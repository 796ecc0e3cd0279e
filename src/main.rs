//! The fastsmtp program: the command line, the configuration, the log. All else is the library.
#![forbid(unsafe_code)]

mod cli;
mod config;
mod logging;
mod machine;

use std::process::ExitCode;

use cli::exit::Exit;

fn main() -> ExitCode {
    let exit = match cli::run() {
        Ok(()) => Exit::Ok,
        Err(failure) => {
            logging::say(&failure.to_string());
            failure.exit
        }
    };
    logging::flush();
    exit.into()
}

//! The fastsmtp program: the command line, the configuration, the log. All else is the library.
#![forbid(unsafe_code)]

mod cli;
mod config;
mod logging;
mod machine;

use std::process::ExitCode;

use cli::exit::Exit;

fn main() -> ExitCode {
    let result = cli::run();
    // The sentence that says why comes after the lines that led there.
    logging::flush();
    match result {
        Ok(()) => Exit::Ok.into(),
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit.into()
        }
    }
}

//! The fastsmtp program: the command line, the configuration, the log. All else is the library.
#![forbid(unsafe_code)]

mod cli;
mod config;
mod logging;
mod machine;

use std::process::ExitCode;

use cli::exit::Exit;
use signal_hook::consts::SIGINT;
use signal_hook::low_level::emulate_default_handler;

fn main() -> ExitCode {
    let exit = match cli::run() {
        Ok(()) => Exit::Ok,
        Err(failure) => {
            if !failure.sentence.is_empty() {
                logging::say(&failure.to_string());
            }
            failure.exit
        }
    };
    logging::flush();
    if exit == Exit::Interrupted {
        // By the signal itself, so that a shell ends the script, too. If that fails, the exit code says the same.
        let _ = emulate_default_handler(SIGINT);
    }
    exit.into()
}

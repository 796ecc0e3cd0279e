//! `fastsmtp serve`: the server.

use std::io::{self, Write};

use super::exit::{Exit, Failure};
use crate::config::Config;
use crate::logging;

/// Runs the server until it is stopped.
pub fn run(config: Config) -> Result<(), Failure> {
    if config.check_config {
        return print(&config);
    }
    logging::init(config.log)
        .map_err(|error| Failure::new(Exit::Unavailable, format!("the log cannot start: {error}")))?;
    for warning in &config.warnings {
        log::warn!("{warning}");
    }
    Err(Failure::new(Exit::Unavailable, "the server is not wired in yet"))
}

/// Prints the configuration as a file of its own.
fn print(config: &Config) -> Result<(), Failure> {
    for warning in &config.warnings {
        eprintln!("fastsmtp: warning: {warning}");
    }
    let mut out = io::stdout().lock();
    out.write_all(config.to_toml().as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(Exit::InputOutput, format!("standard output: {error}")))
}

//! Writes every form of report of imagined runs, to be looked at:
//! `cargo run -p loadgen --example sample_reports -- DIRECTORY`.

use std::path::Path;
use std::{env, fs, io};

use loadgen::report::{Report, csv, page, sample, text};

fn main() -> io::Result<()> {
    let directory = env::args().nth(1).unwrap_or_else(|| ".".into());
    let runs: [(&str, Vec<Report>); 6] = [
        ("closed", vec![sample::closed()]),
        ("open", vec![sample::open_stalling(60)]),
        ("sweep", vec![sample::sweep()]),
        ("invalid", vec![sample::invalid()]),
        ("nothing", vec![sample::nothing_accepted()]),
        ("both", vec![sample::closed_stalling(60), sample::open_stalling(60)]),
    ];
    for (name, reports) in runs {
        write(Path::new(&directory), name, &reports)?;
    }
    Ok(())
}

fn write(directory: &Path, name: &str, reports: &[Report]) -> io::Result<()> {
    let text: String = reports.iter().map(|report| text::text(report, 80)).collect();
    fs::write(directory.join(format!("{name}.txt")), text)?;
    fs::write(directory.join(format!("{name}.csv")), csv::csv(&reports[0]))?;
    fs::write(directory.join(format!("{name}.html")), page::page(&format!("Load test: {name}"), reports))
}

//! Writes every form of report of imagined runs, to be looked at:
//! `cargo run -p loadgen --example sample_reports -- DIRECTORY`.

use std::path::Path;
use std::time::{Duration, SystemTime};
use std::{env, fs, io};

use hdrhistogram::Histogram;
use loadgen::compare::{compare, page as page_of};
use loadgen::report::hdr::HdrLog;
use loadgen::report::{Report, csv, page, sample, text};

fn main() -> io::Result<()> {
    let directory = env::args().nth(1).unwrap_or_else(|| ".".into());
    let runs: [(&str, Vec<Report>); 8] = [
        ("closed", vec![sample::closed()]),
        ("open", vec![sample::open_stalling(60)]),
        ("sweep", vec![sample::sweep()]),
        ("invalid", vec![sample::invalid()]),
        ("ramp", vec![sample::ramp()]),
        ("unreachable", vec![sample::unreachable()]),
        ("nothing", vec![sample::nothing_accepted()]),
        ("both", vec![sample::closed_stalling(60), sample::open_stalling(60)]),
    ];
    for (name, reports) in runs {
        write(Path::new(&directory), name, &reports)?;
    }
    let (before, mut after) = (sample::closed(), sample::closed());
    after.messages_per_second *= 0.8;
    after.speaking.connections = 50;
    let compared = compare(&before, &after, Some(0.1));
    fs::write(Path::new(&directory).join("compared.txt"), compared.text())?;
    fs::write(Path::new(&directory).join("compared.html"), page_of("Compared", &compared, &before, &after))
}

fn write(directory: &Path, name: &str, reports: &[Report]) -> io::Result<()> {
    let text: String = reports.iter().map(|report| text::text(report, 80)).collect();
    fs::write(directory.join(format!("{name}.txt")), text)?;
    fs::write(directory.join(format!("{name}.csv")), csv::csv(&reports[0]))?;
    fs::write(directory.join(format!("{name}.json")), reports[0].json())?;
    histograms(&directory.join(format!("{name}.hlog")), &reports[0])?;
    fs::write(directory.join(format!("{name}.html")), page::page(&format!("Load test: {name}"), reports))
}

/// Of each second its p50, p99 and maximum, as if these were all that happened.
fn histograms(path: &Path, report: &Report) -> io::Result<()> {
    let mut log = HdrLog::new(fs::File::create(path)?, SystemTime::now())?;
    for second in &report.intervals {
        let mut histogram = Histogram::new(3).map_err(io::Error::other)?;
        for microseconds in [second.p50_us, second.p99_us, second.max_us] {
            histogram.record((microseconds * 1e3) as u64).map_err(io::Error::other)?;
        }
        log.interval("message", Duration::from_secs_f64(second.at), Duration::from_secs(1), &histogram)?;
    }
    log.flush()
}

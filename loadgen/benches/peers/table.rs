//! The results as a table for the terminal.

use std::fmt::Write as _;

use loadgen::report::units::{count, number, octets, time};

use super::results::{CellResults, Measured, Results, RunFigures, ServerFacts, Summary};

/// All of it.
pub fn text(results: &Results) -> String {
    let mut text = format!("\n{}\n", machine(results));
    if !results.complete {
        text += "INTERRUPTED: only complete rounds are counted.\n";
    }
    text += &disk(results);
    for cell in &results.cells {
        text += &cell_text(results, cell);
    }
    text + &servers(results)
}

/// One line about the machine.
pub fn machine(results: &Results) -> String {
    let machine = &results.machine;
    let journal = match machine.file_system.journal {
        Some(true) => " with a journal",
        Some(false) => " without a journal",
        None => "",
    };
    let environment = &machine.environment;
    format!(
        "{}, {} cores{}, {} of memory; {}, {}; {}{journal}; load average at the start {}",
        environment.processor,
        environment.cores,
        if machine.is_virtual { " (a virtual machine)" } else { "" },
        octets(environment.memory as f64),
        machine.system,
        environment.kernel,
        machine.file_system.kind,
        environment.load_average,
    )
}

/// The bare disk's figures, a line for each size.
pub fn disk(results: &Results) -> String {
    let mut text = String::new();
    for octets in [4 << 10, 512 << 10] {
        let figures = || results.disk.iter().filter(move |figures| figures.octets == octets);
        let p50 = Summary::of(figures().map(|figures| figures.p50_us).collect());
        let p99 = Summary::of(figures().map(|figures| figures.p99_us).collect());
        if let (Some(p50), Some(p99)) = (p50, p99) {
            let size = octets >> 10;
            let _ = writeln!(
                text,
                "bare disk: write and fdatasync of {size} KiB: p50 {}, p99 {}",
                spread(p50, time),
                spread(p99, time)
            );
        }
    }
    text
}

fn cell_text(results: &Results, cell: &CellResults) -> String {
    let what = match cell.measured {
        Measured::Accepted => "answered 250, messages/s",
        Measured::Delivered => "in the Maildir, messages/s",
    };
    let mut text = format!("\n{}: {what}\n", cell.title());
    let promise = "a 250 means";
    let head = ["median", "min to max", "of null", "x Postfix", "250 p50", "250 p99", "CPU/message"];
    let _ = writeln!(text, "  {:<26}{promise:<11}{}", "", columns(&head.map(String::from)));
    for server in results.servers.iter().filter(|server| takes_part(server, cell)) {
        let _ = writeln!(text, "  {:<26}{:<11}{}", server.name, server.promise(), row(cell, server));
    }
    text
}

/// Whether a server has a row in a cell.
pub fn takes_part(server: &ServerFacts, cell: &CellResults) -> bool {
    cell.runs.contains_key(&server.key)
        || server.missing.is_some() && delivers(server) == (cell.measured == Measured::Delivered)
}

fn delivers(server: &ServerFacts) -> bool {
    server.key.ends_with("-maildir")
}

fn row(cell: &CellResults, server: &ServerFacts) -> String {
    if server.missing.is_some() {
        return "  missing".into();
    }
    let Some(rate) = cell.summary(&server.key, |run| run.messages_per_second) else {
        return format!(
            "  did not finish: {}",
            cell.did_not_finish(&server.key).unwrap_or("no complete round")
        );
    };
    let key = &server.key;
    let of = |figure: fn(&RunFigures) -> f64| cell.summary(key, figure).map_or(0.0, |of| of.median);
    let ratios = ratios(cell, rate.median);
    let mut line = columns(&[
        number(rate.median),
        format!("{} to {}", number(rate.min), number(rate.max)),
        ratios[0].map_or("-".into(), |ratio| format!("{ratio:.2}")),
        ratios[1].map_or("-".into(), |ratio| format!("{ratio:.1}")),
        time(of(|run| run.accept_p50_us)),
        time(of(|run| run.accept_p99_us)),
        time(of(|run| run.processor_us_per_message)),
    ]);
    if let Some(remark) = remark(cell, key) {
        let _ = write!(line, "  ({remark})");
    }
    line
}

/// The median beside that of the null responder, and beside Postfix's (on one core, or delivering).
pub fn ratios(cell: &CellResults, median: f64) -> [Option<f64>; 2] {
    let to = |key: &str| cell.summary(key, |run| run.messages_per_second).map(|of| median / of.median);
    [to("null"), to("postfix").or_else(|| to("postfix-maildir"))]
}

/// What has to be known about a server's runs in a cell.
pub fn remark(cell: &CellResults, key: &str) -> Option<String> {
    let runs = cell.runs.get(key)?;
    if let Some(reason) = cell.did_not_finish(key) {
        let unfinished = runs.iter().filter(|run| run.did_not_finish.is_some()).count();
        return Some(format!("{unfinished} of {} rounds without a figure: {reason}", runs.len()));
    }
    let note = runs.iter().find_map(|run| run.note.clone());
    note.or_else(|| runs.iter().any(|run| run.generator_bound).then(|| "the generator was the limit".into()))
}

fn columns(columns: &[String; 7]) -> String {
    let widths = [9, 20, 9, 11, 10, 10, 13];
    columns.iter().zip(widths).map(|(column, width)| format!("{column:>width$}")).collect()
}

fn servers(results: &Results) -> String {
    let mut text = String::from("\nWhat a 250 means\n");
    for server in &results.servers {
        let version = server.version.as_deref().unwrap_or("-");
        let _ = writeln!(text, "  {:<26}{} [{version}]", server.name, server.durability);
        if let Some(reason) = &server.missing {
            let _ = writeln!(text, "  {:<26}MISSING: {reason}", "");
        }
    }
    text += "\nAt rest, and whether both sides counted the same\n";
    for server in results.servers.iter().filter(|server| server.missing.is_none()) {
        let _ = writeln!(text, "  {:<26}{}; {}", server.name, memory(server), counts(server));
    }
    text
}

/// Resident memory in words.
pub fn memory(server: &ServerFacts) -> String {
    server.memory.as_ref().map_or("memory not measured".into(), |memory| {
        format!(
            "{} after the start, {} for each of {} idle connections",
            octets(memory.idle_octets as f64),
            octets(memory.octets_per_connection),
            count(memory.connections)
        )
    })
}

/// Both counts in words.
pub fn counts(server: &ServerFacts) -> String {
    let Some(counts) = &server.counts else { return "not counted".into() };
    match (counts.counted, counts.agree) {
        (Some(counted), Some(true)) => format!("{} = {} ({})", counts.accepted, counted, counts.counted_by),
        (Some(counted), _) => {
            format!(
                "loadgen says {}, the server {counted}: THEY DIFFER ({})",
                counts.accepted, counts.counted_by
            )
        }
        (None, _) => "it does not count".into(),
    }
}

fn spread(of: Summary, show: fn(f64) -> String) -> String {
    format!("{} ({} to {})", show(of.median), show(of.min), show(of.max))
}

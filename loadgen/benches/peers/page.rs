//! The results as one page of HTML that opens without network, in light and dark: the style and the charts are those of
//! loadgen's own page.

use loadgen::report::chart::{self, Axis, Chart, Scale, Series};
use loadgen::report::escape::html;
use loadgen::report::units::{count, number, octets, time};

use super::results::{CellResults, Measured, Results, RunFigures, ServerFacts};
use super::table;

/// The page.
pub fn page(results: &Results) -> String {
    let sections = [warnings(results), charts(results), cells(results), servers(results), method(results)];
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<meta \
         http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{TITLE}</title>\n<style>\n{STYLE}{}</style>\n</head>\n<body>\n<main>\n<h1>{TITLE}</h1>\n\
         <p class=\"lead\">{}</p>\n{}</main>\n</body>\n</html>\n",
        chart::STYLE,
        html(&format!("{} · {}", results.started, table::machine(results))),
        sections.concat(),
    )
}

fn warnings(results: &Results) -> String {
    let mut warnings = Vec::new();
    if !results.complete {
        warnings.push("The comparison was interrupted: only complete rounds are counted.".to_owned());
    }
    for server in &results.servers {
        if let Some(reason) = &server.missing {
            warnings.push(format!("{} is missing: {reason}.", server.name));
        }
        if server.counts.as_ref().is_some_and(|counts| counts.agree == Some(false)) {
            warnings.push(format!("{}: {}.", server.name, table::counts(server)));
        }
    }
    let cards: String = warnings
        .iter()
        .map(|warning| format!("<article class=\"verdict bad\"><p>{}</p></article>\n", html(warning)))
        .collect();
    if cards.is_empty() { cards } else { format!("<section class=\"verdicts\">\n{cards}</section>\n") }
}

/// The same cells over connections at 1 KiB, and over sizes.
fn charts(results: &Results) -> String {
    let pipelined: Vec<&CellResults> = results
        .cells
        .iter()
        .filter(|cell| cell.measured == Measured::Accepted && cell.way == "pipelined")
        .collect();
    let small: Vec<&CellResults> = pipelined.iter().copied().filter(|cell| cell.size == "1KiB").collect();
    // One cell for each size: the one with the most connections but a thousand, which only the smallest size has.
    let mut sizes: Vec<&CellResults> = Vec::new();
    for cell in pipelined.iter().copied().filter(|cell| cell.connections < 1000) {
        sizes.retain(|other| other.size != cell.size || other.connections > cell.connections);
        if !sizes.iter().any(|other| other.size == cell.size) {
            sizes.push(cell);
        }
    }
    let charts = [
        chart::figure(&over(results, Connections("messages/s"), &small, |run| run.messages_per_second)),
        chart::figure(&over(results, Connections("p99"), &small, |run| run.accept_p99_us)),
        chart::figure(&over(results, Sizes, &sizes, |run| run.messages_per_second)),
        chart::figure(&over(results, Connections("CPU"), &small, |run| run.processor_us_per_message)),
    ];
    format!("<h2>At a glance</h2>\n<div class=\"charts\">\n{}</div>\n", charts.concat())
}

/// What a chart goes over, and what it shows.
enum Over {
    Connections(&'static str),
    Sizes,
}
use Over::{Connections, Sizes};

fn over(results: &Results, over: Over, cells: &[&CellResults], figure: fn(&RunFigures) -> f64) -> Chart {
    let present = results.servers.iter().filter(|server| !server.key.ends_with("-maildir"));
    let series = present.enumerate().map(|(style, server)| {
        let point = |cell: &&CellResults| {
            let x = match over {
                Connections(_) => f64::from(cell.connections),
                Sizes => fastsmtp::units::size(&cell.size).unwrap_or_default() as f64,
            };
            Some((x, cell.summary(&server.key, figure)?.median))
        };
        let mut points: Vec<(f64, f64)> = cells.iter().filter_map(point).collect();
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        Series { name: server.name.clone(), style, points, strays: Vec::new() }
    });
    let (title, label, text): (_, _, fn(f64) -> String) = match over {
        Connections("messages/s") => ("Messages a second, 1 KiB, pipelined", "messages/s", number),
        Connections("p99") => ("From the mail data to the 250: p99, 1 KiB, pipelined", "latency", time),
        Connections(_) => ("Server's processor time a message, 1 KiB, pipelined", "time", time),
        Sizes => ("Messages a second by size, pipelined", "messages/s", number),
    };
    let (x, x_text): (_, fn(f64) -> String) = match over {
        Connections(_) => ("connections", number),
        Sizes => ("size of a message", octets),
    };
    Chart {
        title: title.into(),
        note: "Both axes by powers of ten. Medians of all rounds; what did not finish has no point.".into(),
        x: Axis { label: x.into(), scale: Scale::Logarithmic, text: x_text },
        y: Axis { label: label.into(), scale: Scale::Logarithmic, text },
        series: series.collect(),
        marks: Vec::new(),
    }
}

fn cells(results: &Results) -> String {
    let tables: String = results.cells.iter().map(|cell| cell_table(results, cell)).collect();
    format!("<h2>Figures</h2>\n<p class=\"note\">{COLUMNS}</p>\n{tables}")
}

fn cell_table(results: &Results, cell: &CellResults) -> String {
    let what = match cell.measured {
        Measured::Accepted => "answered 250",
        Measured::Delivered => "in the Maildir",
    };
    let rows: String = results
        .servers
        .iter()
        .filter(|server| table::takes_part(server, cell))
        .map(|server| row(cell, server))
        .collect();
    format!(
        "<h3>{}: {what}</h3>\n<div class=\"scrollable\"><table class=\"figures\"><thead><tr><th></th><th>a 250 means</th>\
         <th>messages/s</th><th>min to max</th><th>of null</th><th>× Postfix</th><th>250: p50</th><th>p99</th>\
         <th>CPU</th><th></th></tr></thead><tbody>\n{rows}</tbody></table></div>\n",
        html(&cell.title())
    )
}

fn row(cell: &CellResults, server: &ServerFacts) -> String {
    let remark = match &server.missing {
        Some(_) => "missing".to_owned(),
        None => table::remark(cell, &server.key).unwrap_or_default(),
    };
    let figures = match cell.summary(&server.key, |run| run.messages_per_second) {
        None => vec!["-".to_owned(); 7],
        Some(of_rate) => {
            let median = |figure: fn(&RunFigures) -> f64| {
                cell.summary(&server.key, figure).map_or(f64::NAN, |of| of.median)
            };
            let [of_null, of_postfix] = table::ratios(cell, of_rate.median)
                .map(|ratio| ratio.map_or("-".into(), |ratio| format!("{ratio:.2}")));
            vec![
                number(of_rate.median),
                format!("{} to {}", number(of_rate.min), number(of_rate.max)),
                of_null,
                of_postfix,
                time(median(|run| run.accept_p50_us)),
                time(median(|run| run.accept_p99_us)),
                time(median(|run| run.processor_us_per_message)),
            ]
        }
    };
    let cells: String = figures.iter().map(|figure| format!("<td>{}</td>", html(figure))).collect();
    let names = [&server.name, server.promise()].map(html);
    format!(
        "<tr><th scope=\"row\">{}</th><td>{}</td>{cells}<td>{}</td></tr>\n",
        names[0],
        names[1],
        html(&remark)
    )
}

fn servers(results: &Results) -> String {
    let row = |server: &ServerFacts| {
        let facts = [
            server.durability.clone(),
            server.version.clone().unwrap_or_else(|| "-".into()),
            server.placement.clone(),
            table::memory(server),
            table::counts(server),
        ];
        let cells: String = facts.iter().map(|fact| format!("<td>{}</td>", html(fact))).collect();
        format!("<tr><th scope=\"row\">{}</th>{cells}</tr>\n", html(&server.name))
    };
    let rows: String = results.servers.iter().map(row).collect();
    format!(
        "<h2>The servers, and what their 250 means</h2>\n<div class=\"scrollable\"><table class=\"facts\"><thead><tr>\
         <th></th><th>a 250 means</th><th>version</th><th>cores</th><th>resident at rest</th><th>accepted by loadgen = \
         counted by the server</th></tr></thead><tbody>\n{rows}</tbody></table></div>\n"
    )
}

fn method(results: &Results) -> String {
    let commands: String = results
        .servers
        .iter()
        .filter(|server| !server.command.is_empty())
        .map(|server| format!("{}: {}\n", server.name, server.command.join(" ")))
        .collect();
    let commit = results.commit.as_deref().unwrap_or("unknown");
    let text = format!(
        "Medians of {} rounds; each round runs each server once in each cell, one after the other. A run is {} measured \
         after {} of warm-up, in a closed loop over loopback; a delivery run offers mail for {} and ends when the last \
         message is in the Maildir. Servers are on core {}, the generator on core {}, but for those that say otherwise. \
         Processor time is that of all the server's processes until its queue is empty, by all messages it accepted, \
         warm-up and all. Source: {commit}; options: {}.",
        count(results.rounds.into()),
        seconds(results.measured_seconds),
        seconds(results.warm_up_seconds),
        seconds(results.delivery_seconds),
        results.machine.server_core,
        results.machine.generator_core,
        if results.command.is_empty() { "none".into() } else { results.command.join(" ") },
    );
    format!(
        "<h2>How it was measured</h2>\n<p>{}</p>\n<pre>{}</pre>\n<h3>Commands</h3>\n<pre>{}</pre>\n",
        html(&text),
        html(&table::disk(results)),
        html(&commands)
    )
}

fn seconds(seconds: f64) -> String {
    time(seconds * 1e6)
}

const COLUMNS: &str = "Messages a second: the median of all rounds, the least and the greatest, and the median as a share of \
    the null responder's and as a multiple of Postfix's (on one core; delivering where that is measured). 250: from the \
    first octet of the mail data to the reply, in a closed loop. CPU: the server's processor time a message.";
const TITLE: &str = "fastsmtp beside its peers";
const STYLE: &str = include_str!("../../src/report/page/style.css");

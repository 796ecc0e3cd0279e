//! The comparison's parts, in the order of reading: [`options`] and [`plan`] say what is run, [`server`] who, [`load`] by
//! what, [`rounds`] how often; [`results`] is the document, [`table`] and [`page`] show it.
//!
//! `tests/peers.rs` uses [`counts`] and what is below it, and holds servers and generator to the same counts.

pub mod counts;
pub mod disk;
pub mod facts;
pub mod failure;
pub mod load;
pub mod machine;
pub mod memory;
pub mod options;
pub mod page;
pub mod place;
pub mod plan;
pub mod postfix;
pub mod process;
pub mod results;
pub mod rounds;
pub mod server;
pub mod table;
pub mod tools;

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use clap::Parser;
pub use failure::Failure;
use loadgen::report::environment::rfc3339;
use options::Options;
use place::Place;
use plan::Plan;
use results::{FORMAT_VERSION, Results};
use server::Lab;
use tools::Tools;

/// The whole comparison.
pub fn main() -> Result<(), Failure> {
    let options = Options::parse();
    let plan = Plan::new(&options)?;
    failure::watch_signals()?;
    process::raise_descriptor_limit();
    tools::build()?;
    if options.install {
        tools::install_postfix()?;
    }
    let mut tools = Tools::find(&tools::built()?);
    if let Some(loadgen) = &options.loadgen {
        tools.loadgen.clone_from(loadgen);
    }
    let place =
        if options.loop_ext4 { Place::with_journal(&options.root)? } else { Place::below(&options.root)? };
    let lab = Lab::new(tools, &place.path());
    let mut results = begin(&lab, &plan);
    let ended = measure(&lab, plan, &mut results);
    drop(place);
    // Without a complete round there is nothing to show, and what was there before stays.
    if !results.disk.is_empty() {
        write(&results, &options.out)?;
    }
    ended
}

fn measure(lab: &Lab, mut plan: Plan, results: &mut Results) -> Result<(), Failure> {
    results.servers = facts::gather(lab, &plan)?;
    plan.servers.retain(|kind| results.is_present(kind.key()));
    rounds::run(lab, &plan, results)
}

fn begin(lab: &Lab, plan: &Plan) -> Results {
    Results {
        format_version: FORMAT_VERSION,
        started: rfc3339(SystemTime::now()),
        commit: tools::commit(),
        command: std::env::args().skip(1).filter(|word| word != "--bench").collect(),
        complete: false,
        rounds: plan.rounds,
        warm_up_seconds: plan.warm_up.as_secs_f64(),
        measured_seconds: plan.measured.as_secs_f64(),
        delivery_seconds: plan.delivery.as_secs_f64(),
        machine: machine::describe(lab),
        disk: Vec::new(),
        servers: Vec::new(),
        cells: Vec::new(),
    }
}

/// The table goes to standard output, the document and the page to files.
fn write(results: &Results, out: &Path) -> Result<(), Failure> {
    let out = tools::workspace().join(out);
    fs::create_dir_all(&out).map_err(Failure::of(&out))?;
    let json = serde_json::to_string_pretty(results)
        .map_err(|error| Failure::new(format!("the results cannot be written as JSON: {error}")))?;
    let file = out.join("peers.json");
    fs::write(&file, json + "\n").map_err(Failure::of(&file))?;
    let page = out.join("peers.html");
    fs::write(&page, page::page(results)).map_err(Failure::of(&page))?;
    println!("{}", table::text(results));
    println!("{} has every single value, {} shows it", file.display(), page.display());
    Ok(())
}

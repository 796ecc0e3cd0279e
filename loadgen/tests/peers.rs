//! Counts agree with the other side: what loadgen says was accepted is what smtp-sink, Postfix and fastsmtp say they
//! took, exactly. The servers are those of the comparison (`benches/peers`), started in the same way.

#[allow(dead_code, reason = "the comparison has more than these tests need")]
#[path = "../benches/peers/mod.rs"]
mod peers;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use peers::counts;
use peers::server::{Kind, Lab};
use peers::tools::Tools;

/// Compares the counts of one server; says so if it cannot be had here.
fn counts_agree(kind: Kind) {
    let built = Path::new(env!("CARGO_BIN_EXE_loadgen")).parent().expect("cargo builds into a directory");
    let tools = Tools::find(built);
    if let Some(reason) = missing(&tools, kind) {
        assert!(std::env::var_os("CI").is_none(), "{}: {reason}; CI has to have it", kind.name());
        eprintln!("skipped: {}: {reason}", kind.name());
        return;
    }
    let place = tempfile::tempdir().expect("a temporary directory");
    // Postfix's processes are not root's, and have to pass.
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).expect("it is ours");
    peers::process::raise_descriptor_limit();
    let counts = counts::compare(&Lab::new(tools, place.path()), kind, MESSAGES).expect("it can be started");
    assert_eq!((counts.accepted, counts.counted), (MESSAGES, Some(MESSAGES)), "by {}", counts.counted_by);
}

fn missing(tools: &Tools, kind: Kind) -> Option<String> {
    let is_built = tools.fastsmtp.is_file();
    let is_ours = matches!(kind, Kind::FastsmtpMemory | Kind::Fastsmtp | Kind::FastsmtpMaildir);
    if is_ours && !is_built {
        return Some("it is not built: `cargo test --workspace` builds it".into());
    }
    tools.missing(kind)
}

#[test]
fn counts_agree_with_smtp_sink() {
    counts_agree(Kind::Sink);
}

#[test]
fn counts_agree_with_postfix() {
    counts_agree(Kind::PostfixAllCores);
}

#[test]
fn counts_agree_with_the_maildir_of_postfix() {
    counts_agree(Kind::PostfixMaildir);
}

#[test]
fn counts_agree_with_fastsmtp() {
    counts_agree(Kind::Fastsmtp);
}

#[test]
fn counts_agree_with_the_maildir_of_fastsmtp() {
    counts_agree(Kind::FastsmtpMaildir);
}

/// Enough that several batches, connections and deliveries overlap.
const MESSAGES: u64 = 500;

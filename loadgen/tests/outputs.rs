//! Where a run is told: each file says what happened, and a file that cannot be written is named.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Output;

use common::fastsmtp::FastSmtp;
use common::post::Post;
use common::{Ran, command, finish, program, run, spawn};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde_json::Value;
use tempfile::{TempDir, tempdir};

fn document(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn every_document_tells_of_the_same_run() {
    let (server, book) = Post::default().open();
    let directory = tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let mut command = command(server.address, "--conns 3 --duration 1500ms --warmup 200ms");
    for output in ["json", "csv", "html", "hdr", "ledger"] {
        command.arg(format!("--{output}")).arg(path(output));
    }
    let ran = finish(spawn(&mut command));
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr);
    assert_eq!(ran.stderr, "");
    let json = document(&path("json"));
    let accepted = json["accepted"].as_u64().unwrap();
    assert!(accepted > 0 && ran.stdout.contains(json["verdict"].as_str().unwrap()));
    let all = book.lock().unwrap().len() as u64;
    assert_eq!(all, accepted + json["warm_up"]["accepted"].as_u64().unwrap());

    let csv = fs::read_to_string(path("csv")).unwrap();
    let mut lines = csv.lines();
    let columns: Vec<&str> = lines.next().unwrap().split(',').collect();
    let column = columns.iter().position(|name| *name == "accepted").unwrap();
    let sum: u64 = lines.map(|line| line.split(',').nth(column).unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(sum, accepted);

    assert_eq!(
        hdr_counts(&path("hdr")),
        BTreeMap::from([("accept".into(), accepted), ("message".into(), accepted)])
    );

    // A head and a line for each message, those of the warm-up too: their 250 counts as well.
    let ledger = fs::read_to_string(path("ledger")).unwrap();
    assert_eq!(
        ledger.lines().filter(|line| !line.starts_with('#')).count() as u64,
        all,
        "{}",
        &ledger[..200]
    );

    let page = fs::read_to_string(path("html")).unwrap();
    assert!(page.contains("<svg") && page.ends_with("</html>\n"));
    for outside in ["http://", "https://", "<script", "src=", "@import", "url(", "<link"] {
        let found = page.find(outside).filter(|at| !page[*at..].starts_with("http://www.w3.org/2000/svg"));
        assert_eq!(found.map(|at| &page[at..at + 60]), None);
    }
}

/// Counts of a log of histograms, by tag.
fn hdr_counts(path: &Path) -> BTreeMap<String, u64> {
    let text = fs::read(path).unwrap();
    let mut counts = BTreeMap::new();
    for entry in IntervalLogIterator::new(&text) {
        let LogEntry::Interval(interval) = entry.unwrap() else { continue };
        let octets = base64_decoded(interval.encoded_histogram());
        let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut &octets[..]).unwrap();
        *counts.entry(interval.tag().unwrap().as_str().to_owned()).or_default() += histogram.len();
    }
    counts
}

fn base64_decoded(text: &str) -> Vec<u8> {
    fastsmtp::wire::sasl::decode(text.as_bytes()).unwrap()
}

#[test]
fn json_on_standard_output_is_alone_there() {
    let (server, _) = Post::default().open();
    let ran = run(server.address, "--conns 2 --messages 5");
    assert_eq!((ran.code(), ran.count("/accepted")), (Some(0), 5));
    assert!(ran.stderr.contains("verdict: ") && !ran.stdout.contains("verdict: "));
}

/// A ledger of 20 messages that a real server has delivered.
fn delivered() -> (FastSmtp, TempDir) {
    let (server, directory) = (FastSmtp::start(), tempdir().unwrap());
    let mut command =
        command(server.address, "--conns 2 --messages 20 --to user{n%4}@example.com --rcpts 2 --json -");
    let ran = finish(spawn(command.arg("--ledger").arg(directory.path().join("ledger"))));
    assert_eq!((ran.code(), ran.count("/accepted")), (Some(0), 20), "{}", ran.stderr);
    server.delivered(40);
    (server, directory)
}

fn verify(server: &FastSmtp, directory: &TempDir) -> Ran {
    let mut command = program("verify --json - --ledger");
    command.arg(directory.path().join("ledger")).arg("--maildir").arg(server.mailboxes());
    finish(spawn(&mut command))
}

#[test]
fn verify_finds_a_loss_a_duplicate_and_a_flipped_bit() {
    let (server, directory) = delivered();
    let ran = verify(&server, &directory);
    assert_eq!(
        (ran.code(), ran.count("/present"), ran.count("/acknowledged")),
        (Some(0), 20, 20),
        "{}",
        ran.stderr
    );
    let files = server.delivered(40);

    let (lost, whole) = (&files[0], fs::read(&files[0]).unwrap());
    fs::remove_file(lost).unwrap();
    let ran = verify(&server, &directory);
    assert_eq!(
        (ran.code(), ran.count("/missing"), ran.count("/present")),
        (Some(12), 1, 19),
        "{}",
        ran.stderr
    );
    fs::write(lost, &whole).unwrap();
    assert_eq!(verify(&server, &directory).code(), Some(0));

    let twin = lost.with_file_name("a-twin");
    fs::copy(lost, &twin).unwrap();
    let ran = verify(&server, &directory);
    assert_eq!(
        (ran.code(), ran.count("/duplicate"), ran.count("/present")),
        (Some(12), 1, 19),
        "{}",
        ran.stderr
    );
    fs::remove_file(twin).unwrap();

    let mut flipped = whole.clone();
    let last = flipped.len() - 5;
    flipped[last] ^= 1;
    fs::write(lost, &flipped).unwrap();
    let ran = verify(&server, &directory);
    assert_eq!(
        (ran.code(), ran.count("/damaged"), ran.count("/present")),
        (Some(12), 1, 19),
        "{}",
        ran.stderr
    );
    assert!(!ran.text("/verdict").is_empty() && ran.stderr.contains(&ran.text("/verdict")), "{}", ran.stderr);
}

#[test]
fn verify_says_what_it_cannot_read() {
    let directory = tempdir().unwrap();
    let ledger = directory.path().join("ledger");
    let told = |code, name: &str| {
        let mut command = program("verify --ledger");
        let ran = finish(spawn(command.arg(&ledger).arg("--maildir").arg(directory.path().join("maildir"))));
        assert_eq!(ran.code(), Some(code), "{}", ran.stderr);
        assert!(ran.stderr.contains(name) && !ran.stderr.contains("panicked"), "{}", ran.stderr);
    };
    fs::create_dir(directory.path().join("maildir")).unwrap();
    told(1, "ledger");
    fs::write(&ledger, "").unwrap();
    told(1, "ledger");
    fs::write(&ledger, b"\xff\xfe\0\n\n").unwrap();
    told(1, "ledger");
    let (server, _) = Post::default().open();
    let mut command = command(server.address, "--messages 2 --ledger");
    assert_eq!(finish(spawn(command.arg(&ledger))).code(), Some(0));
    fs::remove_dir(directory.path().join("maildir")).unwrap();
    told(1, "maildir");
}

/// `compare` of two documents.
fn compare(before: &Path, after: &Path, arguments: &str) -> Ran {
    let mut command = program("compare");
    finish(spawn(command.arg(before).arg(after).args(arguments.split_whitespace())))
}

#[test]
fn compare_tells_fine_from_regression_from_nonsense() {
    let (server, _) = Post::default().open();
    let directory = tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let mut command = command(server.address, "--conns 2 --messages 50 --json");
    assert_eq!(finish(spawn(command.arg(path("a")))).code(), Some(0));
    let mut worse = document(&path("a"));
    for phase in worse["phases"].as_object_mut().unwrap().values_mut() {
        for figure in ["p50_us", "p90_us", "p99_us", "p99_9_us", "max_us", "mean_us"] {
            phase[figure] = (phase[figure].as_f64().unwrap() * 3.0).into();
        }
    }
    worse["messages_per_second"] = (worse["messages_per_second"].as_f64().unwrap() / 3.0).into();
    fs::write(path("worse"), worse.to_string()).unwrap();
    let mut invalid = worse.clone();
    invalid["valid"] = false.into();
    invalid["invalid_reason"] = "client-bound: as an example".into();
    fs::write(path("invalid"), invalid.to_string()).unwrap();
    fs::write(path("nonsense"), "{\"accepted\": 1}").unwrap();
    for (after, arguments, code, told) in [
        ("a", "--fail-on-regression 10%", 0, "no regression"),
        ("worse", "--fail-on-regression 10%", 10, "REGRESSION"),
        ("worse", "--fail-on-regression 900%", 0, "no regression"),
        ("worse", "", 0, "not judged"),
        ("invalid", "--fail-on-regression 10%", 11, "as an example"),
        ("nonsense", "--fail-on-regression 10%", 2, "nonsense"),
        ("no-such-file", "--fail-on-regression 10%", 2, "no-such-file"),
        ("a", "--fail-on-regression ten", 2, "--fail-on-regression"),
    ] {
        let ran = compare(&path("a"), &path(after), arguments);
        assert_eq!(ran.code(), Some(code), "{after} {arguments}: {} {}", ran.stdout, ran.stderr);
        let text = format!("{}{}", ran.stdout, ran.stderr);
        assert!(text.contains(told) && !text.contains("panicked"), "{after} {arguments}: {text}");
    }
    let mut html = program("compare --json - --html");
    let ran = finish(spawn(html.arg(path("html")).arg(path("a")).arg(path("worse"))));
    assert_eq!((ran.code(), ran.text("/outcome")), (Some(0), "fine".into()), "{}", ran.stderr);
    assert!(fs::read_to_string(path("html")).unwrap().contains("<svg"));
}

#[test]
fn a_full_disk_is_told_by_the_files_name_and_the_table_comes_out_all_the_same() {
    let (server, _) = Post::default().open();
    for output in ["json", "csv", "html", "hdr", "ledger"] {
        let mut command = command(server.address, &format!("--conns 2 --messages 50 --{output} /dev/full"));
        let ran = finish(spawn(&mut command));
        assert_eq!(ran.code(), Some(1), "{output}: {}", ran.stderr);
        assert!(
            ran.stderr.contains("/dev/full") && ran.stderr.contains("No space left"),
            "{output}: {}",
            ran.stderr
        );
        assert!(
            !ran.stderr.contains("panicked") && ran.stderr.lines().count() == 1,
            "{output}: {}",
            ran.stderr
        );
        assert!(output == "ledger" || ran.stdout.contains("verdict: "), "{output}: {}", ran.stdout);
    }
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = command(server.address, "--conns 2 --messages 5 --json -");
    let Output { status, stderr, .. } = command.stdout(full()).output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert!(
        status.code() == Some(1) && stderr.contains("verdict: ") && !stderr.contains("panicked"),
        "{stderr}"
    );
}

#[test]
fn a_path_that_cannot_be_written_is_told_before_the_run() {
    let (server, book) = Post::default().open();
    for output in ["json", "csv", "html", "hdr", "ledger"] {
        for path in ["/no/such/directory/file", "/", ""] {
            let mut command = command(server.address, "--conns 2 --messages 5");
            let ran = finish(spawn(command.arg(format!("--{output}")).arg(path)));
            assert!(matches!(ran.code(), Some(1 | 2)), "{output} {path:?}: {:?} {}", ran.code(), ran.stderr);
            assert!(ran.stderr.contains(path) && ran.stdout.is_empty(), "{output} {path:?}: {}", ran.stderr);
            assert!(!ran.stderr.contains("panicked"), "{output} {path:?}: {}", ran.stderr);
        }
    }
    assert_eq!((server.content(), book.lock().unwrap().len()), (0, 0));
}

#[test]
fn each_output_is_a_file_of_its_own() {
    let (server, book) = Post::default().open();
    let directory = tempdir().unwrap();
    for (arguments, told) in [
        ("--json same --csv same", "--csv: same is the file of --json already"),
        ("--html same --ledger same", "--ledger: same is the file of --html already"),
        ("--csv -", "--csv: name a file"),
        ("--hdr -", "--hdr: name a file"),
        ("--ledger -", "--ledger: name a file"),
        ("--html -", "--html: name a file"),
    ] {
        let mut command = command(server.address, &format!("--messages 5 {arguments}"));
        let ran = finish(spawn(command.current_dir(directory.path())));
        assert_eq!(ran.code(), Some(2), "{arguments}: {}", ran.stderr);
        assert!(ran.stderr.contains(told), "{arguments}: {}", ran.stderr);
    }
    assert_eq!((fs::read_dir(directory.path()).unwrap().count(), book.lock().unwrap().len()), (0, 0));
}

#[test]
fn a_file_name_that_is_no_text_is_fine() {
    let (server, _) = Post::default().open();
    let directory = tempdir().unwrap();
    let path = directory.path().join(std::ffi::OsStr::from_bytes(b"report-\xff.json"));
    let ran = finish(spawn(command(server.address, "--messages 5 --json").arg(&path)));
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr);
    assert_eq!(document(&path)["accepted"].as_u64(), Some(5));
}

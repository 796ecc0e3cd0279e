//! Power loss, as far as one machine can have it: an ext4 of its own is shut down under load (EXT4_IOC_SHUTDOWN), which
//! throws away all that was not synced; what its clients were told is compared with what lies in the mailboxes after
//! the next start.
//!
//! `ROUNDS=200 cargo test --release --test power_loss -- --nocapture` is the full size: so many rounds that lose
//! whatever the file system's own journal had not on disk, a quarter as many after a flush of that journal (the names
//! are there, and data that was not synced is not: such a file has length zero), and a tenth as many in which the file
//! system turns read-only, as ext4 does at an error. It needs root, a loop device and python3 for the ioctl, for which
//! no safe call exists. Not simulated: a disk that lies about its own cache.
//!
//! When the power fails nothing runs on; here the server does, and the kernel, which is no part of the test, lets an
//! fdatasync that runs at the very moment of the ioctl return 0 although its blocks are lost (four of 25 runs of thirty
//! lines of Python that write to reserved blocks). So in half of the rounds the server stands still when the disk goes,
//! as it would, and each 250 that went out before counts; in the others it goes on, sees what a dying disk says, and a
//! 250 that comes from that moment on proves nothing.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::machine::{Mount, is_root};
use common::oracle::{ALARMS, Oracle, PATIENT, Random, a_new_seed, number_from};
use common::server::{Server, data, has_tool, spawn};

#[test]
fn whenever_the_power_fails_each_message_that_got_its_250_is_delivered_exactly_once() {
    if !is_root() || !["mkfs.ext4", "losetup", "mount", "python3"].iter().all(|tool| has_tool(tool)) {
        return;
    }
    let seed = number_from("SEED").unwrap_or_else(a_new_seed);
    let rounds = number_from("ROUNDS").unwrap_or(ROUNDS_DEFAULT);
    println!("SEED={seed} ROUNDS={rounds}");
    let started = Instant::now();
    let mut random = Random(seed);
    let mut oracle = Oracle::new(seed);
    oracle.alarms = ALARMS;
    let mut figures = Figures::default();
    let faults = [
        (Fault::LogLost, rounds),
        (Fault::LogFlushed, rounds.div_ceil(4).max(2)),
        (Fault::ReadOnly, rounds.div_ceil(10)),
    ];
    for (fault, rounds) in faults {
        let mut left = rounds;
        while left > 0 {
            // A new file system now and then: making the first directories must survive as well.
            let Some(mut machine) = Machine::new() else { return };
            let together = left.min(1 + random.below(ROUNDS_TOGETHER));
            for _ in 0..together {
                machine.round(fault, &mut oracle, &mut random, &mut figures);
            }
            let found = oracle.violations_at_rest(&machine.data);
            machine.judge(seed, fault, found);
            oracle.forget(&machine.data);
            left -= together;
        }
    }
    println!(
        "rounds_log_lost={} rounds_log_flushed={} rounds_read_only={} while_starting={} frozen={} files_left_whole={} {} \
         violations=0 seconds={:.1}",
        figures.rounds[0],
        figures.rounds[1],
        figures.rounds[2],
        figures.while_starting,
        figures.frozen,
        figures.files,
        oracle.counts(),
        started.elapsed().as_secs_f64(),
    );
    assert!(oracle.counts().acknowledged > rounds, "there was no load to speak of: {}", oracle.counts());
}

/// How the file system ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// With what its journal had on disk.
    LogLost,
    /// With all of its journal, and none of the data that was not written.
    LogFlushed,
    /// It lives on, and takes no more writes.
    ReadOnly,
}

#[derive(Default)]
struct Figures {
    /// By fault.
    rounds: [u64; 3],
    /// Rounds in which the server was recovering, or just did.
    while_starting: u64,
    /// Rounds in which the server stood still when it happened.
    frozen: u64,
    /// Files seen in a `new/` right behind a fault, all of them whole.
    files: usize,
}

/// A file system in a file, and what is needed to end it.
struct Machine {
    // Dropped in this order: the file system must not be in use when it goes.
    mount: Option<Mount>,
    image: PathBuf,
    data: PathBuf,
    root: Option<tempfile::TempDir>,
}

impl Machine {
    /// None if this machine cannot mount one; says so.
    fn new() -> Option<Machine> {
        let (root, data) = data();
        let image = root.path().join("image");
        std::fs::create_dir(&data).unwrap();
        std::fs::File::create(&image).unwrap().set_len(IMAGE).unwrap();
        let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image).status().unwrap();
        assert!(made.success());
        let mut machine = Machine { mount: None, image, data, root: Some(root) };
        machine.mount = machine.mounted();
        machine.mount.is_some().then_some(machine)
    }

    fn mounted(&self) -> Option<Mount> {
        Mount::new(&["-o", "loop", self.image.to_str().unwrap()], &self.data)
    }

    /// Starts the server, loads it, ends its file system at a moment of chance, then it, and mounts again.
    fn round(&mut self, fault: Fault, oracle: &mut Oracle, random: &mut Random, figures: &mut Figures) {
        figures.rounds[fault as usize] += 1;
        let switch = Switch::new(&self.data, fault);
        let delay = Duration::from_micros(random.below(DELAY_US));
        if random.below(5) == 0 {
            figures.while_starting += 1;
            let mut child = spawn(&self.data, &[&["--listen", "127.0.0.1:0"], PATIENT].concat());
            thread::sleep(delay);
            switch.throw();
            child.kill().unwrap();
            child.wait().unwrap();
        } else {
            // Most rounds are short; a long one is long enough for segments to be made ready and mail to be settled.
            let (answers, load_time) = match random.below(6) {
                0 => (u64::MAX, Duration::from_millis(1200 + random.below(1300))),
                _ => (random.below(ANSWERS_MAX), Duration::from_secs(1)),
            };
            let after = Duration::from_micros(random.below(AFTER_US));
            let is_frozen = random.below(2) == 0;
            figures.frozen += u64::from(is_frozen);
            let server = Server::start(&self.data, PATIENT);
            oracle.load(server, |server, heard| {
                heard.wait(answers, load_time);
                thread::sleep(delay);
                if is_frozen {
                    server.signal("STOP");
                } else {
                    heard.prove_no_more();
                }
                switch.throw();
                thread::sleep(after);
            });
        }
        drop(self.mount.take());
        self.mount = self.mounted();
        assert!(self.mount.is_some(), "it was mounted before");
        let found = oracle.torn(&self.data);
        figures.files += common::server::delivered(&self.data.join("mailboxes")).len();
        self.judge(oracle.seed, fault, found);
    }

    /// Fails if anything was found, and keeps the file system's file then.
    fn judge(&mut self, seed: u64, fault: Fault, mut found: Vec<String>) {
        if !found.is_empty() {
            drop(self.mount.take());
            let kept = self.root.take().unwrap().keep();
            found.truncate(20);
            panic!("SEED={seed}, {fault:?}, kept in {}:\n{}", kept.display(), found.join("\n"));
        }
    }
}

/// Ends a file system at once when it is thrown: the program that does so waits with the file system open.
struct Switch(Child);

impl Switch {
    fn new(mount: &Path, fault: Fault) -> Switch {
        let python = |flag: u32| {
            let mut command = Command::new("python3");
            command.args(["-c", SHUTDOWN, &flag.to_string()]).arg(mount);
            command
        };
        let mut command = match fault {
            Fault::LogLost => python(2),
            Fault::LogFlushed => python(1),
            Fault::ReadOnly => {
                let mut command = Command::new("sh");
                command.args(["-c", "echo; read line; mount -o remount,abort \"$0\""]).arg(mount);
                command
            }
        };
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        Switch(child)
    }

    fn throw(mut self) {
        self.0.stdin.take().unwrap().write_all(b"\n").unwrap();
        assert!(self.0.wait().unwrap().success(), "the file system could not be ended");
    }
}

/// EXT4_IOC_SHUTDOWN is _IOR('X', 125, __u32).
const SHUTDOWN: &str = "import fcntl, os, struct, sys
directory = os.open(sys.argv[2], os.O_RDONLY)
print(flush=True)
sys.stdin.readline()
fcntl.ioctl(directory, 0x8004587d, struct.pack('I', int(sys.argv[1])))";

const ROUNDS_DEFAULT: u64 = 3;
/// At most so many rounds over one file system.
const ROUNDS_TOGETHER: u64 = 8;
/// Octets of a file system; room for the log's four segments, and for mail. The file takes what is written only.
const IMAGE: u64 = 1 << 30;
/// The end comes behind so many answers of a round and so many microseconds; the server lives on for so many more.
const ANSWERS_MAX: u64 = 100;
const DELAY_US: u64 = 50_000;
const AFTER_US: u64 = 20_000;

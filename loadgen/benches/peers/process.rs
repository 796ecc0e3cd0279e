//! A server's processes: started on chosen cores, measured together, and stopped by their ids, whatever happens.
//!
//! A server is a process group of its own: the process that we start, or the Postfix master that it starts, and all
//! their children. So a Ctrl-C in the terminal reaches only us, nothing else on the machine is ever counted or stopped,
//! and a child that outlives its parent still belongs to it.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::Failure;

/// The cores that we may use, by number.
pub fn cores() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap_or_default();
    (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
}

/// Starts a command in a process group of its own that runs on `cores` only: it inherits them from this thread, which
/// has them for that moment.
pub fn spawn(command: &mut Command, cores: &[usize]) -> Result<Child, Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    let before = sched_getaffinity(None).map_err(|error| Failure::new(format!("no affinity: {error}")))?;
    pin(None, cores)?;
    let child = command.process_group(0).spawn();
    sched_setaffinity(None, &before).map_err(|error| Failure::new(format!("no affinity: {error}")))?;
    child.map_err(|error| Failure::new(format!("{name} cannot be started: {error}")))
}

/// Confines a thread (of any process; this one's current thread if none is named) to cores.
pub fn pin(thread: Option<u32>, cores: &[usize]) -> Result<(), Failure> {
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    sched_setaffinity(thread.and_then(pid), &set)
        .map_err(|error| Failure::new(format!("cores {cores:?} cannot be had: {error}")))
}

/// As many descriptors as the system lets us have, for us and for every server: Postfix's master needs two for each of
/// its processes.
pub fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

/// A started process and the group that it leads, or whose leader it started. Dropping it ends the whole group.
#[derive(Debug)]
pub struct Group {
    child: Child,
    id: u32,
}

impl Group {
    /// That of a child that leads it.
    pub fn led_by(child: Child) -> Group {
        let id = child.id();
        Group { child, id }
    }

    /// The same child, which has started another process that leads the group that does the work.
    pub fn with_leader(mut self, id: u32) -> Group {
        self.id = id;
        self
    }

    /// Sends a signal to all its processes.
    pub fn signal(&self, signal: Signal) {
        if let Some(group) = pid(self.id) {
            let _ = kill_process_group(group, signal);
        }
    }

    /// Its number, which is its leader's.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Whether the process that we started has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Those of its processes that live.
    pub fn processes(&self) -> Vec<u32> {
        numbers("/proc")
            .into_iter()
            .filter(|process| stat(*process).is_some_and(|fields| fields[GROUP] == u64::from(self.id)))
            .collect()
    }

    /// Processor time of all its processes and threads so far, with that of children that ended and were waited for.
    pub fn processor_time(&self) -> Duration {
        let used = self
            .processes()
            .into_iter()
            .filter_map(stat)
            .map(|fields| fields[USER_TIME..=CHILDREN_SYSTEM_TIME].iter().sum::<u64>())
            .sum();
        ticks(used)
    }

    /// Resident octets of all its processes, a page that several share counted once (the kernel's `Pss`).
    pub fn memory(&self) -> u64 {
        self.processes().into_iter().filter_map(proportional_memory).sum()
    }

    /// Tells the group to end, and waits for that; kills it if it does not. Other processes are never touched.
    pub fn end(&mut self) {
        for (signal, patience) in [(Signal::TERM, 10), (Signal::KILL, 10)] {
            self.signal(signal);
            if self.is_gone_within(Duration::from_secs(patience)) {
                return;
            }
        }
    }

    /// Whether everything has ended, at the latest after `patience`. Our own child is waited for.
    pub fn is_gone_within(&mut self, patience: Duration) -> bool {
        let began = Instant::now();
        loop {
            let child_ended = self.has_ended();
            let others_ended = pid(self.id).is_none_or(|group| test_kill_process_group(group).is_err());
            if child_ended && (others_ended || self.processes().is_empty()) {
                return true;
            }
            if began.elapsed() > patience {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
        // A starter outside of the group; it ends with what it started, and is ours alone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// So many ticks of the kernel's clock for such accounts.
pub fn ticks(count: u64) -> Duration {
    Duration::from_secs_f64(count as f64 / rustix::param::clock_ticks_per_second() as f64)
}

fn pid(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw)
}

/// The entries of a directory of /proc that are numbers.
fn numbers(directory: &str) -> Vec<u32> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The numbers of /proc/PID/stat behind the name and the state; none of a process that is gone or only waits to be reaped.
pub fn stat(process: u32) -> Option<Vec<u64>> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    let (state, numbers) = rest.split_once(' ')?;
    // Negative numbers stand only where we do not look.
    let fields: Vec<u64> =
        numbers.split_whitespace().map(|number| number.parse().unwrap_or_default()).collect();
    (state != "Z" && fields.len() > CHILDREN_SYSTEM_TIME).then_some(fields)
}

fn proportional_memory(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

/// Places in what [`stat`] returns: pgrp is the fifth field of the file, utime to cstime are the 14th to 17th (proc(5)).
const GROUP: usize = 1;
const USER_TIME: usize = 10;
pub const CHILDREN_SYSTEM_TIME: usize = 13;

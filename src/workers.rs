//! The threads that run jobs: one that commits, one that delivers, one that makes segments ready, one that writes large
//! messages. A job is a function from value to value; here is merely where it runs. A fifth looks for files that changed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{io, mem, thread};

use log::error;

use crate::limits::{BULK_NICENESS, RELOAD_LOOK_MS};
use crate::reload::Watch;
use crate::server::courier::Courier;
use crate::server::job::{Completion, Job};

/// Jobs that are done and not yet taken back by the loop.
///
/// Bounded by what the server hands out: one job of each kind at a time, and of spills one for each connection; and by
/// a look for changes in a second.
#[derive(Default)]
pub struct Completions {
    done: Mutex<Vec<Completion>>,
}

impl Completions {
    /// Takes all of them.
    pub fn take(&self) -> Vec<Completion> {
        mem::take(&mut *self.done.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn push(&self, completion: Completion) {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).push(completion);
    }
}

/// Threads that wait for jobs.
pub struct Workers {
    committer: Sender<Job>,
    courier: Sender<Job>,
    preparer: Sender<Job>,
    spiller: Sender<Job>,
    /// None if there is nothing to look at.
    watcher: Option<Sender<()>>,
}

impl Workers {
    /// Starts the threads. Each pushes what is done to `completions` and then calls `wake`.
    pub fn start(
        mut courier: Courier,
        watch: Watch,
        completions: Arc<Completions>,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> io::Result<Workers> {
        let done = move |completion| {
            completions.push(completion);
            wake();
        };
        let (committer, commits) = channel();
        let (deliverer, deliveries) = channel();
        let (preparer, prepares) = channel();
        let (spiller, spills) = channel();
        worker("commit", commits, 0, run_log_job, done.clone())?;
        worker("segments", prepares, 0, run_log_job, done.clone())?;
        worker("spill", spills, BULK_NICENESS, run_log_job, done.clone())?;
        worker("courier", deliveries, 0, move |job| run_delivery(&mut courier, job), done.clone())?;
        let watcher = if watch.is_empty() { None } else { Some(watcher(watch, done)?) };
        Ok(Workers { committer, courier: deliverer, preparer, spiller, watcher })
    }

    /// Has what the server was started with read anew, changed or not. False if nothing of it can be.
    pub fn reload(&self) -> bool {
        self.watcher.as_ref().is_some_and(|watcher| watcher.send(()).is_ok())
    }

    /// Hands a job to its thread.
    pub fn submit(&self, job: Job) {
        let thread = match job {
            Job::Commit(_) => &self.committer,
            Job::Deliver(_) => &self.courier,
            Job::Prepare(_) => &self.preparer,
            Job::Spill(..) => &self.spiller,
        };
        thread.send(job).unwrap_or_else(|_| unreachable!("a worker ends with the process only"));
    }
}

fn run_log_job(job: Job) -> Completion {
    match job {
        Job::Commit(batch) => Completion::Committed(batch.run()),
        Job::Prepare(prepare) => Completion::Prepared(prepare.run()),
        Job::Spill(key, spill) => Completion::Spilled(key, spill.run()),
        Job::Deliver(_) => unreachable!("deliveries go to the courier"),
    }
}

fn run_delivery(courier: &mut Courier, job: Job) -> Completion {
    match job {
        Job::Deliver(job) => Completion::Delivered(courier.run(job)),
        Job::Commit(_) | Job::Prepare(_) | Job::Spill(..) => {
            unreachable!("only deliveries go to the courier")
        }
    }
}

/// Starts a thread that runs jobs one after the other. A panic there leaves the log or a mailbox in a state that nobody
/// knows, so it ends the process; recovery judges what the disk holds.
fn worker(
    name: &str,
    jobs: Receiver<Job>,
    niceness: i32,
    mut run: impl FnMut(Job) -> Completion + Send + 'static,
    done: impl Fn(Completion) + Send + 'static,
) -> io::Result<()> {
    let work = move || {
        // On Linux a thread has a niceness of its own. That it stays as it was costs others time, and nothing else.
        if niceness > 0 {
            let _ = rustix::process::setpriority_process(None, niceness);
        }
        for job in jobs {
            match catch_unwind(AssertUnwindSafe(|| run(job))) {
                Ok(completion) => done(completion),
                Err(_) => {
                    error!("a worker panicked; the process ends, recovery will judge what the disk holds");
                    log::logger().flush();
                    std::process::abort();
                }
            }
        }
    };
    thread::Builder::new().name(format!("fastsmtp-{name}")).spawn(work).map(drop)
}

/// Starts a thread that looks for changes once a second, and whenever it is asked to.
fn watcher(mut watch: Watch, done: impl Fn(Completion) + Send + 'static) -> io::Result<Sender<()>> {
    let (asker, asked) = channel();
    let work = move || loop {
        match asked.recv_timeout(Duration::from_millis(RELOAD_LOOK_MS)) {
            Ok(()) => watch.insist(),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        match catch_unwind(AssertUnwindSafe(|| watch.look())) {
            Ok(Some(reload)) => done(Completion::Reloaded(reload)),
            Ok(None) => {}
            Err(_) => error!("looking for changed files panicked; what was read before holds on"),
        }
    };
    thread::Builder::new().name("fastsmtp-reload".to_owned()).spawn(work)?;
    Ok(asker)
}

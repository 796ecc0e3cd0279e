//! The threads that run jobs: one that commits, one that delivers, one that makes segments ready, one that writes large
//! messages, one that judges passwords, one that looks into mailboxes, and one that reads messages, so that nobody's waits
//! for another's huge mailbox. A job is a function from value to value; here is
//! merely where it runs. One more looks for files that changed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{io, mem, thread};

use log::error;

use crate::accounts::HashMemory;
use crate::disk::Disk;
use crate::limits::{BULK_NICENESS, RELOAD_LOOK_MS};
use crate::mailbox;
use crate::reload::Watch;
use crate::server::courier::Courier;
use crate::server::job::{Completion, Job};

/// Jobs that are done and not yet taken back by the loop.
///
/// Bounded by what the server hands out: one job of each kind at a time; of spills and of POP3's one for each connection, of
/// passwords and mailboxes as many as [`Job`] says; and by a look for changes in a second.
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
    password_judge: Sender<Job>,
    mailbox_keeper: Sender<Job>,
    reader: Sender<Job>,
    watcher: Sender<()>,
}

impl Workers {
    /// Starts the threads. Each pushes what is done to `completions` and then calls `wake`.
    pub fn start(
        mut courier: Courier,
        disk: Arc<dyn Disk>,
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
        let (password_judge, passwords) = channel();
        let (mailbox_keeper, mailboxes) = channel();
        let (reader, reads) = channel();
        worker("commit", commits, 0, run_log_job, done.clone())?;
        worker("segments", prepares, 0, run_log_job, done.clone())?;
        worker("spill", spills, BULK_NICENESS, run_log_job, done.clone())?;
        let mut memory = HashMemory::default();
        let judge = move |job| run_password_job(&mut memory, job);
        worker("password", passwords, BULK_NICENESS, judge, done.clone())?;
        let reads_disk = disk.clone();
        worker("mailbox", mailboxes, BULK_NICENESS, move |job| run_mailbox_job(&*disk, job), done.clone())?;
        worker("reader", reads, BULK_NICENESS, move |job| run_read_job(&*reads_disk, job), done.clone())?;
        worker("courier", deliveries, 0, move |job| run_delivery(&mut courier, job), done.clone())?;
        let watcher = watcher(watch, done)?;
        Ok(Workers {
            committer,
            courier: deliverer,
            preparer,
            spiller,
            password_judge,
            mailbox_keeper,
            reader,
            watcher,
        })
    }

    /// Has what the server was started with read anew, changed or not.
    pub fn reload(&self) {
        self.watcher.send(()).unwrap_or_else(|_| unreachable!("a worker ends with the process only"));
    }

    /// Hands a job to its thread.
    pub fn submit(&self, job: Job) {
        let thread = match job {
            Job::Commit(_) => &self.committer,
            Job::Deliver(_) => &self.courier,
            Job::Prepare(_) => &self.preparer,
            Job::Spill(..) => &self.spiller,
            Job::CheckPassword(_) => &self.password_judge,
            Job::Measure(_) | Job::Open(_) | Job::Update(_) => &self.mailbox_keeper,
            Job::Read(_) => &self.reader,
        };
        thread.send(job).unwrap_or_else(|_| unreachable!("a worker ends with the process only"));
    }
}

fn run_log_job(job: Job) -> Completion {
    match job {
        Job::Commit(batch) => Completion::Committed(batch.run()),
        Job::Prepare(prepare) => Completion::Prepared(prepare.run()),
        Job::Spill(key, spill) => Completion::Spilled(key, spill.run()),
        _ => unreachable!("only the log's jobs come here"),
    }
}

fn run_delivery(courier: &mut Courier, job: Job) -> Completion {
    match job {
        Job::Deliver(job) => Completion::Delivered(courier.run(job)),
        _ => unreachable!("only deliveries go to the courier"),
    }
}

fn run_password_job(memory: &mut HashMemory, job: Job) -> Completion {
    match job {
        Job::CheckPassword(job) => job.run(memory),
        _ => unreachable!("only passwords come here"),
    }
}

fn run_mailbox_job(disk: &dyn Disk, job: Job) -> Completion {
    match job {
        Job::Measure(mailbox) => {
            let octets = mailbox::octets(disk, &mailbox);
            Completion::Measured(mailbox, octets)
        }
        Job::Open(job) => job.run(disk),
        Job::Update(job) => job.run(disk),
        _ => unreachable!("only mailboxes come here"),
    }
}

fn run_read_job(disk: &dyn Disk, job: Job) -> Completion {
    match job {
        Job::Read(job) => job.run(disk),
        _ => unreachable!("only parts of messages come here"),
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

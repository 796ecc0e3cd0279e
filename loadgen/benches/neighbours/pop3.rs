//! Small mail at 200 messages a second, beside 200 POP3 sessions that read mails of 10 MiB, each 64 KiB every tenth of a
//! second.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::client::connect;
use super::server::{PASSWORD, Priority, Server, report};
use super::{Outcome, phase_ms};

/// Small mail beside readers.
pub fn run() -> Outcome<()> {
    let users: Vec<String> = (0..READERS).map(|number| format!("reader{number}@x.example")).collect();
    let everybody: Vec<String> = users.iter().cloned().chain(["small@x.example".to_owned()]).collect();
    let arguments = ["--listen-pop3", "127.0.0.1:0", "--allow-plaintext-auth"];
    let server = Server::with_like_accounts(&everybody, &arguments)?;
    put_mail(&server)?;
    let address = server.pop3.ok_or("there is no POP3")?;
    let small = "--conns 2 --rate 200 --warmup 1s --to small@x.example";
    let alone = report(server.load(&format!("{small} --duration 8s"), Priority::Own)?)?;
    let sessions = users.iter().map(|user| login(address, user)).collect::<Outcome<Vec<TcpStream>>>()?;
    let (over, octets) = (&AtomicBool::new(false), &AtomicU64::new(0));
    let (beside, rate) = thread::scope(|scope| -> Outcome<_> {
        let mut sessions = sessions.into_iter();
        for _ in 0..THREADS {
            let some: Vec<TcpStream> = sessions.by_ref().take(READERS / THREADS).collect();
            scope.spawn(move || read_slowly(some, over, octets));
        }
        let begun = (Instant::now(), octets.load(Ordering::SeqCst));
        let beside = server.load(&format!("{small} --duration 12s"), Priority::Own).and_then(report);
        let rate = (octets.load(Ordering::SeqCst) - begun.1) as f64 / begun.0.elapsed().as_secs_f64();
        over.store(true, Ordering::SeqCst);
        Ok((beside?, rate))
    })?;
    println!(
        "pop3: small mail's 250 p99 alone {:.1} ms, beside {:.1} ms ({:.2} times; at most 2 is the goal), p50 {:.1} and {:.1} ms; {READERS} sessions read {:.0} MB/s of the {:.0} that they would",
        phase_ms(&alone, "accept/p99_us"),
        phase_ms(&beside, "accept/p99_us"),
        phase_ms(&beside, "accept/p99_us") / phase_ms(&alone, "accept/p99_us"),
        phase_ms(&alone, "accept/p50_us"),
        phase_ms(&beside, "accept/p50_us"),
        rate / 1e6,
        (READERS * CHUNK) as f64 / EVERY.as_secs_f64() / 1e6,
    );
    Ok(())
}

/// One mail of 10 MiB, in every mailbox.
fn put_mail(server: &Server) -> Outcome<()> {
    let mailboxes = server.data().join("mailboxes/x.example");
    let line = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n";
    let mut first = None;
    for number in 0..READERS {
        let mailbox = mailboxes.join(format!("reader{number}"));
        for directory in ["tmp", "new", "cur"] {
            fs::create_dir_all(mailbox.join(directory))?;
        }
        let file = mailbox.join("new/1.large");
        match &first {
            None => {
                fs::write(&file, line.repeat(MAIL / line.len()))?;
                first = Some(file);
            }
            Some(first) => fs::hard_link(first, file)?,
        }
    }
    Ok(())
}

/// A session that has its maildrop open.
fn login(address: SocketAddr, user: &str) -> Outcome<TcpStream> {
    let mut reader = BufReader::new(connect(address)?);
    for line in ["", &format!("USER {user}\r\n"), &format!("PASS {PASSWORD}\r\n")] {
        reader.get_mut().write_all(line.as_bytes())?;
        let mut reply = String::new();
        reader.read_line(&mut reply)?;
        if !reply.starts_with("+OK") {
            return Err(format!("{user}: {reply}").into());
        }
    }
    Ok(reader.into_inner())
}

/// Has each session read a little every tenth of a second, again and again the same mail.
fn read_slowly(mut sessions: Vec<TcpStream>, over: &AtomicBool, octets: &AtomicU64) {
    let _ = rustix::process::setpriority_process(None, 19); // readers are on machines of their own
    for session in &mut sessions {
        session.write_all("RETR 1\r\n".repeat(MAILS_MAX).as_bytes()).expect("a few lines fit any socket");
        session.set_nonblocking(true).expect("a socket can be told not to block");
    }
    let mut buffer = vec![0; CHUNK];
    let mut due = Instant::now();
    while !over.load(Ordering::SeqCst) {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        due += EVERY;
        for session in &mut sessions {
            octets.fetch_add(read_chunk(session, &mut buffer), Ordering::SeqCst);
        }
    }
}

/// Reads what is there, up to a chunk.
fn read_chunk(session: &mut TcpStream, buffer: &mut [u8]) -> u64 {
    let mut filled = 0;
    while filled < buffer.len() {
        match session.read(&mut buffer[filled..]) {
            Ok(0) => panic!("a session was closed"),
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("a session is broken: {error}"),
        }
    }
    filled as u64
}

const READERS: usize = 200;
const THREADS: usize = 2;
/// Octets of each reader's mail, and how often it asks for it: more than it comes to.
const MAIL: usize = 10 << 20;
const MAILS_MAX: usize = 50;
/// What a reader takes at a time, and how often: 640 KB/s.
const CHUNK: usize = 64 * 1024;
const EVERY: Duration = Duration::from_millis(100);

//! A signal at any time ends a run soon, with what is known by then and code 130.

mod common;

use std::io;
use std::net::SocketAddr;
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use common::peer::{Peer, Server, serve};
use common::{Ran, command, finish, spawn};
use rustix::process::{Pid, Signal, kill_process};

/// A server that tells when a connection has come so far.
fn telling(
    part: impl Fn(&mut Peer, &dyn Fn()) -> io::Result<()> + Send + Sync + 'static,
) -> (Server, Receiver<()>) {
    let (sender, receiver) = channel();
    let server = serve(move |peer| {
        // Nobody may listen any more.
        let tell = || sender.send(()).unwrap_or_default();
        part(peer, &tell)
    });
    (server, receiver)
}

fn greet(peer: &mut Peer) -> io::Result<()> {
    peer.say("220 mx.example ESMTP\r\n")?;
    peer.hear_line()?;
    peer.say("250 mx.example\r\n")
}

/// Takes all mail, and tells of each.
fn take(peer: &mut Peer, tell: &dyn Fn()) -> io::Result<()> {
    greet(peer)?;
    loop {
        match &peer.hear_line()?[..4] {
            "QUIT" => return peer.say("221 bye\r\n"),
            "DATA" => {
                peer.say("354 go\r\n")?;
                peer.hear_data()?;
                tell();
                peer.say("250 2.0.0 ok\r\n")?;
            }
            _ => peer.say("250 ok\r\n")?,
        }
    }
}

fn start(address: SocketAddr, arguments: &str) -> Child {
    spawn(&mut command(address, &format!("--json - {arguments}")))
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Insists on the end of an interrupted run, not long after `since`.
fn interrupted(child: Child, since: Instant) -> Ran {
    let ran = finish(child);
    assert!(since.elapsed() < Duration::from_secs(20), "it took {:?}", since.elapsed());
    assert_eq!(ran.code(), Some(130), "{}", ran.stderr);
    assert_eq!(ran.json()["ending"].as_str(), Some("interrupted"), "{}", ran.stderr);
    assert_eq!(ran.json()["valid"].as_bool(), Some(false));
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    ran
}

#[test]
fn before_the_banner() {
    let (server, far) = telling(|peer, tell| {
        tell();
        peer.wait_for_end();
        Ok(())
    });
    let child = start(server.address, "--conns 5");
    far.recv().unwrap();
    let since = Instant::now();
    signal(&child, Signal::INT);
    assert_eq!(interrupted(child, since).count("/offered"), 0);
}

#[test]
fn while_connections_are_opened() {
    for (threads, by) in [(1, Signal::TERM), (2, Signal::INT)] {
        // The first is greeted, the others are not.
        let (server, far) = telling(|peer, tell| {
            match peer.number {
                0 => greet(peer)?,
                _ => tell(),
            }
            peer.wait_for_end();
            Ok(())
        });
        let child = start(server.address, &format!("--conns 5 --threads {threads}"));
        far.recv().unwrap();
        let since = Instant::now();
        signal(&child, by);
        assert_eq!(interrupted(child, since).count("/offered"), 0);
    }
}

#[test]
fn in_the_warm_up() {
    let (server, far) = telling(take);
    let child = start(server.address, "--conns 2 --warmup 1h");
    far.iter().take(5).for_each(drop);
    let since = Instant::now();
    signal(&child, Signal::INT);
    let ran = interrupted(child, since);
    assert_eq!(ran.count("/accepted"), 0);
    assert!(ran.count("/warm_up/accepted") >= 3 && ran.text("/verdict").contains("nothing was measured"));
}

#[test]
fn while_the_last_replies_are_waited_for() {
    let (server, far) = telling(|peer, tell| {
        greet(peer)?;
        peer.hear_line()?;
        tell();
        peer.wait_for_end();
        Ok(())
    });
    let child = start(server.address, "--conns 1 --messages 1");
    far.recv().unwrap();
    let since = Instant::now();
    signal(&child, Signal::INT);
    let ran = interrupted(child, since);
    assert_eq!((ran.count("/offered"), ran.count("/abandoned")), (1, 1));
}

#[test]
fn a_sweep_ends_as_a_whole_wherever_it_is() {
    // In the pause behind the first step, in the second step, and in a search: all is told, and the rest not begun.
    for (messages, arguments) in [
        (2, "--ramp 10..300 --step 10 --duration 200ms"),
        (4, "--ramp 10..300 --step 10 --duration 200ms"),
        (1, "--find-knee --duration 1h --slo errors<1%"),
    ] {
        let (server, far) = telling(take);
        let child = start(server.address, &format!("--conns 1 --warmup 0s {arguments}"));
        far.iter().take(messages).for_each(drop);
        let since = Instant::now();
        signal(&child, Signal::INT);
        let ran = interrupted(child, since);
        let steps = ran.json()["sweep"]["steps"].as_array().unwrap().len();
        assert!((1..=20).contains(&steps), "{arguments}: {steps}");
        let verdict = ran.text("/verdict");
        assert!(
            verdict.starts_with("interrupted") || verdict.starts_with("the sweep broke off"),
            "{verdict}"
        );
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let (server, far) = telling(take);
    let child = start(server.address, "--conns 2 --duration 1h --warmup 0s");
    far.recv().unwrap();
    signal(&child, Signal::INT);
    signal(&child, Signal::INT);
    let ran = finish(child);
    assert_eq!(ran.code(), Some(130), "{}", ran.stderr);
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
}

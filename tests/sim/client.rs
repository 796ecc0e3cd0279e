//! A client with a character: what it says next, how its octets arrive, whether it reads, and how it leaves.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use fastsmtp::limits::{COMMANDS_RECEIVED_MAX, OUTBOX_MAX};
use fastsmtp::net::slots::Key;
use fastsmtp::smtp::Address;

use super::dialogue::{Dialogue, Flaw, Recipient, Rules, Said};
use super::oracle::{Answer, Failure, Mail, Oracle, Verdict, mailbox};
use super::pipe::{End, Pipe, ServerEnd};
use super::random::Random;

/// What a client is like.
#[derive(Debug, Clone, Copy)]
pub struct Character {
    /// Waits for each reply; else sends groups, as RFC 2920 has them.
    pub is_lockstep: bool,
    /// Sends mail data without waiting for 354.
    pub is_hasty: bool,
    pub reads: Reads,
    /// Octets that arrive at once, at the most.
    pub cut_max: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    All,
    Little,
    /// And says NOOP for ever.
    Nothing,
}

/// What remains to be done by a client.
enum Plan {
    Say(Said, Vec<u8>),
    /// Until all is answered.
    Wait,
    /// Mail data, if the server awaits it.
    Content(Draft),
}

/// A mail before it is sent.
struct Draft {
    mail: usize,
    flaw: Option<Flaw>,
}

pub struct Client {
    pub number: usize,
    pub address: SocketAddr,
    pub key: Option<Key>,
    pub pipe: Pipe,
    pub character: Character,
    pub dialogue: Dialogue,
    rules: Rules,
    protocol: Option<&'static str>,
    plans: VecDeque<Plan>,
    /// On the way to the server.
    outgoing: VecDeque<u8>,
    /// Octets said, and arrived.
    said: u64,
    pub arrived: u64,
    /// Mails whose last octet is still to arrive, with its place.
    ends: VecDeque<(u64, usize)>,
    /// How its direction ended.
    pub left: Option<End>,
}

impl Client {
    pub fn new(
        number: usize,
        rules: Rules,
        character: Character,
        random: &mut Random,
    ) -> (Client, ServerEnd) {
        let room = match character.reads {
            Reads::All => 1 << 16,
            _ => random.pick(&[200, 2000, 6000, 1 << 16]),
        };
        let (pipe, server_end) = Pipe::new(room, random.one_in(2));
        let ip: IpAddr =
            if random.one_in(3) { [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into() } else { [192, 0, 2, 1].into() };
        let client = Client {
            number,
            address: SocketAddr::new(ip, 1024 + number as u16),
            key: None,
            pipe,
            character,
            dialogue: Dialogue::new(rules),
            rules,
            protocol: None,
            plans: VecDeque::from_iter(character.is_lockstep.then_some(Plan::Wait)),
            outgoing: VecDeque::new(),
            said: 0,
            arrived: 0,
            ends: VecDeque::new(),
            left: None,
        };
        (client, server_end)
    }

    /// Goes on with its plans, or makes new ones.
    pub fn act(&mut self, random: &mut Random, oracle: &mut Oracle) -> Verdict {
        match self.character.reads {
            Reads::All => self.read(usize::MAX, oracle)?,
            Reads::Little => self.read(random.within(1..=300), oracle)?,
            Reads::Nothing => {}
        }
        if self.left.is_none() && self.outgoing.len() < OUTGOING_MAX && !self.dialogue.is_closed() {
            if self.plans.is_empty() {
                self.make_plans(random, oracle);
            }
            self.follow_plans(random, oracle);
        }
        Ok(())
    }

    fn follow_plans(&mut self, random: &mut Random, oracle: &mut Oracle) {
        while let Some(plan) = self.plans.pop_front() {
            match plan {
                Plan::Say(said, octets) => self.say(said, &octets, oracle),
                Plan::Wait if self.dialogue.is_answered() => {}
                Plan::Content(draft) if self.dialogue.is_answered() => {
                    if self.dialogue.awaits_data() {
                        self.send_content(draft, oracle);
                    }
                }
                waiting => return self.plans.push_front(waiting),
            }
            let pauses = self.character.reads != Reads::Nothing && random.one_in(8);
            if self.outgoing.len() > OUTGOING_MAX || pauses {
                return;
            }
        }
    }

    fn say(&mut self, said: Said, octets: &[u8], oracle: &mut Oracle) {
        let start = self.said;
        self.said += octets.len() as u64;
        let said = match said {
            Said::Content { mail, flaw, lines } => {
                self.ends.push_back((self.said, mail));
                let lines = lines.into_iter().map(|(end, line)| (start + end, line)).collect();
                Said::Content { mail, flaw, lines }
            }
            Said::Chunk { mail, is_last: true, .. } => {
                self.ends.push_back((self.said, mail));
                said
            }
            said => said,
        };
        if let Said::Content { mail, .. } | Said::Chunk { mail, .. } = &said {
            oracle.note(
                Some(*mail),
                format!("client {} says up to octet {}: {said:?}", self.number, self.said),
            );
        }
        let end = match said {
            Said::BareLf => {
                start + octets.iter().position(|octet| *octet == b'\n').map_or(0, |at| at as u64 + 1)
            }
            _ => self.said,
        };
        self.dialogue.say(end, said);
        self.outgoing.extend(octets);
    }

    /// Some of what is under way arrives. Gives whether anything did.
    pub fn flow(&mut self, max: usize, window: usize, oracle: &mut Oracle) -> bool {
        let room = window.saturating_sub(self.pipe.unread());
        let count = max.min(self.outgoing.len()).min(room);
        if count == 0 || self.left.is_some() || self.pipe.is_dropped() {
            return false;
        }
        let octets: Vec<u8> = self.outgoing.drain(..count).collect();
        self.arrived += count as u64;
        while let Some((end, mail)) = self.ends.front().copied()
            && end <= self.arrived
        {
            self.ends.pop_front();
            oracle.finished(mail);
        }
        self.pipe.arrive(&octets);
        true
    }

    /// Reads up to `max` octets of replies.
    pub fn read(&mut self, max: usize, oracle: &mut Oracle) -> Verdict {
        let octets = self.pipe.read(max);
        let read = self.dialogue.receive(&octets, self.arrived, oracle);
        read.map_err(|failure| Failure {
            what: format!("client {}: {}", self.number, failure.what),
            ..failure
        })
    }

    /// Leaves, whatever is under way.
    pub fn leave(&mut self, how: End) {
        if self.left.is_none() {
            self.left = Some(how);
            self.outgoing.clear();
            self.pipe.end(how);
        }
    }

    /// Whether both sides are done. An end without a last word is a failure.
    pub fn is_over(&mut self, oracle: &mut Oracle) -> Verdict<bool> {
        if !self.pipe.is_over() {
            if self.pipe.is_dropped() {
                self.read(usize::MAX, oracle)?;
            }
            return Ok(self.pipe.is_over());
        }
        let owed = self.dialogue.owed(self.arrived);
        let may_be_silent = self.dialogue.is_closed() || self.character.reads != Reads::All;
        match self.left {
            None if !may_be_silent => {
                Err(Failure::new(format!("client {} was closed without a word; owed: {owed:?}", self.number)))
            }
            // Who sends nothing at all is not even greeted.
            Some(End::Closed) if !may_be_silent && owed.is_some() && self.arrived > 0 => {
                Err(Failure::new(format!("client {} half-closed and is owed {owed:?}", self.number)))
            }
            _ => Ok(true),
        }
    }

    pub fn describe(&self) -> String {
        format!(
            "client {}: left {:?}, arrived {} of {}, owed {:?}, {:?}",
            self.number,
            self.left,
            self.arrived,
            self.said,
            self.dialogue.owed(self.arrived),
            self.character
        )
    }

    /// What a client costs that says NOOP and reads nothing is bounded: a full outbox, a full carry.
    pub fn check_cost(&self) -> Verdict {
        let (received, written) = self.pipe.totals();
        let noops = received / NOOP.len() as u64;
        let bound =
            written + OUTBOX_MAX as u64 + (COMMANDS_RECEIVED_MAX / NOOP.len() * NOOP_REPLY) as u64 + 1024;
        let is_served = !self.pipe.is_shut(); // behind its last reply the server throws input away
        if is_served && self.character.reads == Reads::Nothing && noops * NOOP_REPLY as u64 > bound {
            return Err(Failure::new(format!(
                "client {} reads nothing, and {received} octets of it were read",
                self.number
            )));
        }
        Ok(())
    }
}

const OUTGOING_MAX: usize = 64 * 1024;
const NOOP: &[u8] = b"NOOP\r\n";
const NOOP_REPLY: usize = "250 2.0.0 ok\r\n".len();

// What it says.
impl Client {
    fn make_plans(&mut self, random: &mut Random, oracle: &mut Oracle) {
        if self.character.reads == Reads::Nothing {
            return self.plan_group(vec![(Said::Noop, NOOP.to_vec()); 200]);
        }
        match random.below(20) {
            _ if self.protocol.is_none() && !random.one_in(30) => self.plan_hello(random),
            0 => self.plan_hello(random),
            1 => self.plan_group(vec![(Said::Quit, b"QUIT\r\n".to_vec())]),
            2..5 => self.plan_noise(random),
            _ => self.plan_mail(random, oracle),
        }
    }

    /// A group of commands, waited for one by one in lockstep, and else as often as not at its end.
    fn plan_group(&mut self, group: Vec<(Said, Vec<u8>)>) {
        for (said, octets) in group {
            self.plans.push_back(Plan::Say(said, octets));
            if self.character.is_lockstep {
                self.plans.push_back(Plan::Wait);
            }
        }
    }

    fn plan_hello(&mut self, random: &mut Random) {
        let (verb, protocol) = if random.one_in(5) { ("HELO", "SMTP") } else { ("EHLO", "ESMTP") };
        self.protocol = Some(protocol);
        self.plan_group(vec![(Said::Hello, format!("{verb} {}\r\n", self.name()).into_bytes())]);
    }

    fn name(&self) -> String {
        format!("c{}.example", self.number)
    }

    fn plan_noise(&mut self, random: &mut Random) {
        let noise = |random: &mut Random| match random.below(8) {
            0 => (Said::Reset, b"RSET\r\n".to_vec()),
            1 => (Said::Verify, b"VRFY someone\r\n".to_vec()),
            2 => (Said::Nonsense, b"WIBBLE wobble\r\n".to_vec()),
            3 => (Said::Mail { size: None, is_valid: false }, b"MAIL FROM:<a@b@c>\r\n".to_vec()),
            4 => (Said::Nonsense, b"\r\n".to_vec()),
            _ => (Said::Noop, NOOP.to_vec()),
        };
        let mut group: Vec<_> = (0..random.within(1..=4)).map(|_| noise(random)).collect();
        if random.one_in(4) {
            group.push((Said::BareLf, b"NOOP\nNOOP\r\n".to_vec())); // one bad line, and no command
            group.push((Said::Nonsense, b"NO\rOP\r\n".to_vec()));
        }
        self.plan_group(group);
    }

    fn plan_mail(&mut self, random: &mut Random, oracle: &mut Oracle) {
        let number = oracle.next_mail();
        let has_null_path = random.one_in(6);
        let by_chunks = random.one_in(3);
        let (content, flaw) = content(number, has_null_path, by_chunks, self.rules.message_size_max, random);
        let mut group = Vec::new();
        if !self.dialogue.is_ready() {
            group.push((Said::Reset, b"RSET\r\n".to_vec())); // a transaction may be left open
        }
        group.push(self.mail_command(number, has_null_path, content.len(), random));
        let mut wanted = BTreeSet::new();
        for _ in 0..recipients(self.rules.recipients_max, random) {
            let (recipient, path) = recipient(random);
            if let Recipient::Local(address) = &recipient {
                wanted.insert(mailbox(address));
            }
            group.push((Said::Recipient(recipient), format!("RCPT TO:<{path}>\r\n").into_bytes()));
        }
        if random.one_in(20) {
            group.push((Said::Reset, b"RSET\r\n".to_vec()));
        }
        let mail = Mail {
            hello: self.name(),
            protocol: self.protocol.unwrap_or("SMTP"),
            client: client_text(self.address.ip()),
            content,
            wanted,
            is_finished: false,
            answer: Answer::None,
        };
        assert_eq!(oracle.plan(mail), number);
        self.plan_group(group);
        if by_chunks {
            self.plan_chunks(number, random, oracle)
        } else {
            self.plan_data(number, flaw, random, oracle)
        }
    }

    /// MAIL, with a size that is true, a lie, or not given.
    fn mail_command(
        &self,
        mail: usize,
        has_null_path: bool,
        len: usize,
        random: &mut Random,
    ) -> (Said, Vec<u8>) {
        let path = if has_null_path { String::new() } else { format!("m{mail}@client.example") };
        let size = match random.below(8) {
            0 | 1 => Some(len as u64),
            2 => Some(random.below(len + 1) as u64),
            3 if random.one_in(4) => Some(self.rules.message_size_max + 1),
            _ => None,
        };
        let parameter = size.map_or(String::new(), |size| format!(" SIZE={size}"));
        (Said::Mail { size, is_valid: true }, format!("MAIL FROM:<{path}>{parameter}\r\n").into_bytes())
    }

    fn plan_data(&mut self, mail: usize, flaw: Option<Flaw>, random: &mut Random, oracle: &Oracle) {
        self.plan_group(vec![(Said::Data, b"DATA\r\n".to_vec())]);
        let is_short = oracle.content(mail).len() < 400 && flaw.is_none();
        if self.character.is_hasty && is_short && random.one_in(2) {
            let octets = stuffed(oracle.content(mail));
            let lines = lines(&octets);
            self.plans.push_back(Plan::Say(Said::Content { mail, flaw, lines }, octets));
        } else {
            self.plans.push_back(Plan::Content(Draft { mail, flaw }));
        }
    }

    fn send_content(&mut self, draft: Draft, oracle: &mut Oracle) {
        let octets = stuffed(oracle.content(draft.mail));
        self.say(Said::Content { mail: draft.mail, flaw: draft.flaw, lines: Vec::new() }, &octets, oracle);
    }

    fn plan_chunks(&mut self, mail: usize, random: &mut Random, oracle: &Oracle) {
        let content = oracle.content(mail);
        let chunks = random.within(1..=4);
        let mut start = 0;
        let mut group = Vec::new();
        for chunk in 1..=chunks {
            let is_last = chunk == chunks;
            let end = if is_last { content.len() } else { random.within(start..=content.len()) };
            let flaw = (end as u64 > self.rules.message_size_max).then_some(Flaw::TooBig);
            let last = if is_last { " LAST" } else { "" };
            let mut octets = format!("BDAT {}{last}\r\n", end - start).into_bytes();
            octets.extend(&content[start..end]);
            group.push((Said::Chunk { mail, flaw, size: end - start, is_last }, octets));
            start = end;
        }
        self.plan_group(group);
    }
}

fn client_text(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("IPv6:{ip}"),
    }
}

/// Mostly few; now and then one more than is allowed.
fn recipients(max: usize, random: &mut Random) -> usize {
    if random.one_in(12) { max + 1 } else { random.within(1..=3) }
}

fn recipient(random: &mut Random) -> (Recipient, String) {
    let ours = ["sim.example", "SIM.Example"];
    match random.below(14) {
        0 => (Recipient::Foreign, "someone@other.example".into()),
        1 => (Recipient::Malformed, "a b@sim.example".into()),
        2 => (Recipient::Local(Address::new("postmaster", "sim.example")), "postmaster".into()),
        n => {
            let (local_part, domain) = (["ann", "bob", "cy", "ann.b"][n % 4], random.pick(&ours));
            (Recipient::Local(Address::new(local_part, domain)), format!("{local_part}@{domain}"))
        }
    }
}

/// Mail data, and what is wrong with it. A mail without a reverse-path has a subject that names it.
fn content(
    mail: usize,
    is_named: bool,
    by_chunks: bool,
    size_max: u64,
    random: &mut Random,
) -> (Vec<u8>, Option<Flaw>) {
    let size_max = size_max as usize;
    let size = match random.below(12) {
        0 => 0,
        1 => size_max - random.below(3),
        2 => size_max + random.within(1..=3000),
        3 | 4 => random.within(1000..=size_max),
        _ => random.below(700),
    };
    let mut content = if is_named { format!("Subject: m{mail}\r\n").into_bytes() } else { Vec::new() };
    while content.len() < size {
        let line = random.pick(&[".", "", "..two", "RSET", ".\t", "text ", "Received", "\0nul", "x"]);
        content.extend(line.as_bytes());
        content.resize(
            content.len() + random.below(90).min(size.saturating_sub(content.len())),
            b'a' + random.below(26) as u8,
        );
        content.extend(b"\r\n");
    }
    if content.len() > size && size >= size_max.min(1000) && !is_named {
        content.truncate(size.saturating_sub(2)); // to the octet: limits are there to be hit
        let behind_cr = content.last() == Some(&b'\r');
        content.truncate(content.len() - usize::from(behind_cr));
        content.resize(size - 2, b'z');
        content.extend(b"\r\n");
    }
    let flaw = (content.len() > size_max).then_some(Flaw::TooBig);
    if !by_chunks && flaw.is_none() && random.one_in(15) && content.len() + 14 < size_max {
        content.extend(random.pick(&[&b"bare\n.\r\nline\r\n"[..], b"a\rb\r\n", b"c\n\r\n"]));
        let flaw = if content.len() > size_max { Flaw::TooBig } else { Flaw::BareLineEnd };
        return (content, Some(flaw));
    }
    (content, flaw)
}

/// The octets of the wire: dots doubled at the start of lines, and the end of data.
fn stuffed(content: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(content.len() + 64);
    for line in content.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") && (octets.is_empty() || octets.ends_with(b"\r\n")) {
            octets.push(b'.');
        }
        octets.extend(line);
    }
    octets.extend(b".\r\n");
    octets
}

/// What a server makes of mail data that it reads as commands: each line a mistake, but for the one that is a command.
fn lines(octets: &[u8]) -> Vec<(u64, Said)> {
    let mut end = 0;
    let lines = octets.split_inclusive(|octet| *octet == b'\n').map(|line| {
        end += line.len() as u64;
        (end, if line == b"RSET\r\n" { Said::Reset } else { Said::Nonsense })
    });
    lines.collect()
}

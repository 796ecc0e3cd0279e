//! A connection without a network: two ends in one thread, with a kernel's manners.
//!
//! What the client sends arrives when the run says so. A read takes all that has arrived, as far as the buffer goes; a
//! write takes what there is room for. Readiness is told by edges: once when something new arrives, once when there is
//! room again behind a write that found too little; an edge tells all that is true then, as epoll does, or only what is
//! new, as kqueue does.

use std::cell::{RefCell, RefMut};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;

use fastsmtp::server::connection::Stream;

/// How the client's direction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Closed,
    Reset,
}

/// What the kernel says of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    pub readable: bool,
    pub writable: bool,
    pub read_closed: bool,
}

struct State {
    /// Arrived and not read by the server.
    arrived: VecDeque<u8>,
    end: Option<End>,
    /// Written by the server and not read by the client.
    replies: VecDeque<u8>,
    /// Octets of replies that the way to the client holds.
    room: usize,
    /// Octets that the server has read, and written.
    received: u64,
    written: u64,
    /// A write found too little room.
    is_starved: bool,
    new_input: bool,
    new_room: bool,
    tells_all: bool,
    is_shut: bool,
    is_dropped: bool,
}

/// The client's end, and the kernel's view.
pub struct Pipe(Rc<RefCell<State>>);

/// The server's end.
pub struct ServerEnd(Rc<RefCell<State>>);

impl Pipe {
    /// A connection whose way to the client holds `room` octets. `tells_all`: how edges are told.
    pub fn new(room: usize, tells_all: bool) -> (Pipe, ServerEnd) {
        let state = State {
            arrived: VecDeque::new(),
            end: None,
            replies: VecDeque::new(),
            room,
            received: 0,
            written: 0,
            is_starved: false,
            new_input: false,
            new_room: true, // said once a connection is watched
            tells_all,
            is_shut: false,
            is_dropped: false,
        };
        let state = Rc::new(RefCell::new(state));
        (Pipe(state.clone()), ServerEnd(state))
    }

    fn state(&self) -> RefMut<'_, State> {
        self.0.borrow_mut()
    }

    /// Something that the client sent arrives.
    pub fn arrive(&self, octets: &[u8]) {
        let mut state = self.state();
        state.arrived.extend(octets);
        state.new_input = true;
    }

    /// The client's direction ends.
    pub fn end(&self, end: End) {
        let mut state = self.state();
        state.end = Some(end);
        (state.new_input, state.new_room) = (true, true);
    }

    /// Octets that arrived and the server has not read.
    pub fn unread(&self) -> usize {
        self.state().arrived.len()
    }

    /// Octets that the server has read, and written.
    pub fn totals(&self) -> (u64, u64) {
        let state = self.state();
        (state.received, state.written)
    }

    /// The client reads up to `max` octets.
    pub fn read(&self, max: usize) -> Vec<u8> {
        let mut state = self.state();
        let count = max.min(state.replies.len());
        let read: Vec<u8> = state.replies.drain(..count).collect();
        if state.is_starved && !read.is_empty() {
            (state.is_starved, state.new_room) = (false, true);
        }
        read
    }

    /// Whether the server will write nothing more, and all of it is read.
    pub fn is_over(&self) -> bool {
        let state = self.state();
        state.replies.is_empty() && (state.is_shut || state.is_dropped)
    }

    /// Whether the server will write nothing more.
    pub fn is_shut(&self) -> bool {
        self.state().is_shut
    }

    /// Whether the server gave the connection up.
    pub fn is_dropped(&self) -> bool {
        self.state().is_dropped
    }

    pub fn has_event(&self) -> bool {
        let state = self.state();
        !state.is_dropped && (state.new_input || state.new_room)
    }

    /// What a poll says.
    pub fn event(&self) -> Option<Event> {
        if !self.has_event() {
            return None;
        }
        let mut state = self.state();
        let has_input = !state.arrived.is_empty() || state.end.is_some();
        let has_room = state.room > state.replies.len() || state.end == Some(End::Reset);
        let told = |new: bool, holds: bool| holds && (new || state.tells_all);
        let event = Event {
            readable: told(state.new_input, has_input),
            writable: told(state.new_room, has_room),
            read_closed: told(state.new_input, state.end.is_some()),
        };
        (state.new_input, state.new_room) = (false, false);
        Some(event)
    }
}

impl ServerEnd {
    fn state(&self) -> RefMut<'_, State> {
        self.0.borrow_mut()
    }
}

impl Read for ServerEnd {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state();
        if state.arrived.is_empty() {
            return match state.end {
                None => Err(ErrorKind::WouldBlock.into()),
                Some(End::Closed) => Ok(0),
                Some(End::Reset) => Err(ErrorKind::ConnectionReset.into()),
            };
        }
        let mut read = 0;
        while read < buffer.len() && !state.arrived.is_empty() {
            read += state.arrived.read(&mut buffer[read..])?; // one of a deque's two parts
        }
        state.received += read as u64;
        Ok(read)
    }
}

impl Write for ServerEnd {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let mut state = self.state();
        assert!(!state.is_shut, "a write behind the end of the server's direction");
        if state.end == Some(End::Reset) {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let taken = octets.len().min(state.room - state.replies.len());
        state.is_starved = taken < octets.len();
        if taken == 0 && !octets.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        state.replies.extend(&octets[..taken]);
        state.written += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for ServerEnd {
    fn shutdown_write(&mut self) -> io::Result<()> {
        let mut state = self.state();
        state.is_shut = true;
        if state.end == Some(End::Reset) { Err(ErrorKind::NotConnected.into()) } else { Ok(()) }
    }
}

impl Drop for ServerEnd {
    fn drop(&mut self) {
        self.state().is_dropped = true;
    }
}

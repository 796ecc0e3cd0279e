//! A socket that connections come by: bound by us, or handed over by whoever started the process. The event loop accepts from
//! it, and knows whether the kernel may hold more.

use std::io;
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, Socket, Type};

use super::StartError;
use crate::limits::{LISTEN_BACKLOG, POP3_SEND_BUFFER};
use crate::server::Service;

/// A listening socket, and what is served there.
pub(super) struct Listener {
    pub socket: TcpListener,
    pub service: Service,
    /// Where it really is, also if port 0 was asked for.
    pub address: SocketAddr,
    /// Whether the kernel may hold connections for it.
    pub is_pending: bool,
}

/// All that connections come by: the sockets that are `handed` over, else such as are bound to these addresses.
pub(super) fn listeners(
    listen: &[(Service, SocketAddr)],
    handed: Vec<(Service, std::net::TcpListener)>,
) -> Result<Vec<Listener>, StartError> {
    if handed.is_empty() {
        return listen.iter().map(|(service, address)| Listener::bind(*service, *address)).collect();
    }
    let adopt =
        |(service, socket)| Listener::adopt(service, Socket::from(socket)).map_err(StartError::System);
    handed.into_iter().map(adopt).collect()
}

impl Listener {
    fn bind(service: Service, address: SocketAddr) -> Result<Listener, StartError> {
        let bound = || -> io::Result<Listener> {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_reuse_address(true)?;
            if address.is_ipv6() {
                socket.set_only_v6(true)?;
            }
            socket.bind(&address.into())?;
            socket.listen(LISTEN_BACKLOG)?;
            Listener::adopt(service, socket)
        };
        bound().map_err(|error| StartError::Listen(service, address, error))
    }

    /// A socket that listens already.
    fn adopt(service: Service, socket: Socket) -> io::Result<Listener> {
        socket.set_nonblocking(true)?;
        // Accepted sockets inherit it: replies go out at once, without a system call each.
        socket.set_tcp_nodelay(true)?;
        // And this: what the kernel holds of a large message for a slow reader is bounded.
        if service.is_pop3() {
            socket.set_send_buffer_size(POP3_SEND_BUFFER)?;
        }
        let socket = TcpListener::from_std(socket.into());
        Ok(Listener { address: socket.local_addr()?, socket, service, is_pending: true })
    }

    /// The next connection, and its client: one of IPv4 with its own address, also where a socket that was handed over is of
    /// both families.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, client) = self.socket.accept()?;
        Ok((stream, SocketAddr::new(client.ip().to_canonical(), client.port())))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Write};

    use super::*;

    /// Octets that the kernel takes for a client that takes none.
    fn held_for_a_client_that_takes_nothing(service: Service) -> usize {
        let listener = Listener::bind(service, SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        client.set_recv_buffer_size(4096).unwrap();
        client.connect(&listener.address.into()).unwrap();
        let (mut stream, _) = loop {
            match listener.accept() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                accepted => break accepted.unwrap(),
            }
        };
        let mut held = 0;
        loop {
            match stream.write(&[b'x'; 16 * 1024]) {
                Ok(octets) => held += octets,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return held,
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn the_kernel_holds_little_for_a_reader_of_mail_that_takes_nothing() {
        for service in [Service::Pop3, Service::Pop3s] {
            let held = held_for_a_client_that_takes_nothing(service);
            assert!(held <= 2 * POP3_SEND_BUFFER + 4096, "{service:?}: {held}");
        }
    }
}

"""A way into TLS for a client that has none: each connection to a free port of 127.0.0.1, which standard output names, goes
on to the server's, by STARTTLS. What the client then sends and hears is said in TLS; its end and its reset are the server's.

usage: tls_tunnel.py SERVER_PORT
"""

import selectors
import socket
import ssl
import struct
import sys
import threading

CONTEXT = ssl.create_default_context()
CONTEXT.check_hostname = False
CONTEXT.verify_mode = ssl.CERT_NONE


def reply(server):
    """The next reply of the server, before TLS."""
    text = b""
    while not (text.endswith(b"\n") and text.splitlines()[-1][3:4] == b" "):
        text += server.recv(1)  # what follows the 220 is TLS's
    return text


class Tunnel:
    def __init__(self, client, port):
        self.client = client
        self.server = socket.create_connection(("127.0.0.1", port))
        banner = reply(self.server)
        for command in (b"EHLO tunnel.example\r\n", b"STARTTLS\r\n"):
            self.server.sendall(command)
            reply(self.server)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = CONTEXT.wrap_bio(self.incoming, self.outgoing)
        self.say(self.tls.do_handshake)
        while self.tls.version() is None or self.incoming.pending:
            self.incoming.write(self.server.recv(1 << 16))
            self.say(self.tls.do_handshake)
        client.sendall(banner)

    def say(self, act, *arguments):
        """Does something in TLS, and sends what that has to say; none if TLS has to hear more first."""
        try:
            return act(*arguments)
        except ssl.SSLWantReadError:
            return None
        finally:
            self.server.sendall(self.outgoing.read())

    def to_server(self):
        octets = self.client.recv(1 << 16)
        if octets:
            self.say(self.tls.write, octets)
        else:
            self.say(self.tls.unwrap)
            self.server.shutdown(socket.SHUT_WR)
        return octets

    def to_client(self):
        octets = self.server.recv(1 << 16)
        if octets:
            self.incoming.write(octets)
        try:
            while plain := self.say(self.tls.read, 1 << 16):
                self.client.sendall(plain)
        except ssl.SSLZeroReturnError:
            pass  # the proper end; that of the stream follows
        return octets

    def run(self):
        selector = selectors.DefaultSelector()
        selector.register(self.client, selectors.EVENT_READ, self.to_server)
        selector.register(self.server, selectors.EVENT_READ, self.to_client)
        while True:
            for key, _ in selector.select():
                if not key.data():
                    selector.unregister(key.fileobj)
                    if key.fileobj is self.server:
                        return


def serve(client, port):
    tunnel = None
    try:
        tunnel = Tunnel(client, port)
        tunnel.run()
    except OSError:
        # Whoever was reset, the other is as well.
        for end in (client, tunnel and tunnel.server):
            if end:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    finally:
        client.close()
        if tunnel:
            tunnel.server.close()


listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    connection, _ = listener.accept()
    threading.Thread(target=serve, args=(connection, int(sys.argv[1])), daemon=True).start()

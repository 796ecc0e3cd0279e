"""A POP3 server for tests of our client, on a free port of 127.0.0.1, which standard output names. It serves the files of a
directory, one session after the other; what it removes is gone there. Written from the RFCs, not from our code.

usage: pop3_server.py DIRECTORY USER PASSWORD [--no-pipelining] [--login SCRAM-SHA-256|PLAIN|USER] [--tls CERT KEY]
                      [--say WORD=ANSWER]...   (what to answer instead of the usual; 'hang' says nothing more, 'close' hangs
                      up, 'trickle' says an octet now and then, 'endless' a mail without end, 'echo' the password)
                      [--uidl ID,ID,...]       (the ids, in the order of the mails)
"""

import argparse
import base64
import hashlib
import hmac
import os
import socket
import ssl
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("directory")
parser.add_argument("user")
parser.add_argument("password")
parser.add_argument("--no-pipelining", action="store_true")
parser.add_argument("--login", default="SCRAM-SHA-256")
parser.add_argument("--tls", nargs=2)
parser.add_argument("--say", action="append", default=[])
parser.add_argument("--uidl")
args = parser.parse_args()
said = dict(each.split("=", 1) for each in args.say)
SALT, ITERATIONS = b"pepper", 4096


class Session:
    def __init__(self, connection):
        self.connection = connection
        self.buffer = b""
        self.is_secured = False
        self.is_open = False
        self.removed = set()

    def line(self):
        while b"\r\n" not in self.buffer:
            octets = self.connection.recv(65536)
            if not octets:
                raise EOFError
            self.buffer += octets
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        if args.no_pipelining and self.buffer:
            raise EOFError("it pipelines")
        return line.decode()

    def say(self, text):
        self.connection.sendall(text.encode() + b"\r\n")

    def say_instead(self, answer):
        if answer == "hang":
            time.sleep(60)
        if answer == "close":
            raise EOFError
        if answer == "endless":
            self.say("+OK")
            while True:
                self.connection.sendall(b"and so on\r\n" * 1000)
        while answer == "trickle":
            self.connection.sendall(b"+")
            time.sleep(0.02)
        self.say("-ERR bad password " + args.password if answer == "echo" else answer)

    def say_lines(self, octets):
        lines = octets.split(b"\r\n")
        if lines[-1] == b"":
            lines.pop()
        stuffed = [b"." + line if line.startswith(b".") else line for line in lines]
        self.connection.sendall(b"+OK\r\n" + b"".join(line + b"\r\n" for line in stuffed) + b".\r\n")

    def mails(self):
        names = sorted(os.listdir(args.directory))
        return [(number, name) for number, name in enumerate(names, 1) if number not in self.removed]

    def content(self, number):
        with open(os.path.join(args.directory, dict(self.names)[int(number)]), "rb") as file:
            return file.read()

    def run(self):
        self.say_instead(said.get("greeting", "+OK ready"))
        while True:
            words = self.line().split(" ", 1) + [""]
            command, argument = words[0].upper(), words[1]
            if command in said:
                self.say_instead(said[command])
                continue
            getattr(self, "do_" + command.lower())(argument)
            if command == "QUIT":
                return

    def do_capa(self, _):
        offered = ["TOP", "UIDL"]
        if not args.no_pipelining:
            offered.append("PIPELINING")
        if args.tls and not self.is_secured:
            offered.append("STLS")
        offered.append("USER" if args.login == "USER" else "SASL " + args.login)
        self.say_lines("\r\n".join(offered).encode())

    def do_stls(self, _):
        self.say("+OK go on")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*args.tls)
        self.connection = context.wrap_socket(self.connection, server_side=True)
        self.is_secured = True

    def judge(self, is_right):
        self.is_open = is_right
        self.names = self.mails()
        self.say("+OK welcome" if is_right else "-ERR [AUTH] wrong user or password")

    def do_user(self, user):
        self.user = user
        self.say("+OK")

    def do_pass(self, password):
        self.judge((self.user, password) == (args.user, args.password))

    def do_auth(self, argument):
        mechanism, first = (argument.split(" ", 1) + [""])[:2]
        assert mechanism == args.login, argument
        if not first:
            self.say("+ ")
            first = self.line()
        first = base64.b64decode(first, validate=True).decode()
        if mechanism == "PLAIN":
            self.judge(first == "\0%s\0%s" % (args.user, args.password))
        else:
            self.scram(first)

    def scram(self, first):
        assert first.startswith("n,,"), first
        bare = first[3:]
        user, nonce = (each[2:] for each in bare.split(","))
        nonce += "more"
        server_first = "r=%s,s=%s,i=%d" % (nonce, base64.b64encode(SALT).decode(), ITERATIONS)
        self.say("+ " + base64.b64encode(server_first.encode()).decode())
        final = base64.b64decode(self.line(), validate=True).decode()
        unproven, proof = final.rsplit(",p=", 1)
        assert unproven == "c=biws,r=" + nonce, unproven
        salted = hashlib.pbkdf2_hmac("sha256", args.password.encode(), SALT, ITERATIONS)
        sign = lambda key, message: hmac.new(key, message.encode(), "sha256").digest()
        message = ",".join([bare, server_first, unproven])
        client_key = sign(salted, "Client Key")
        signature = sign(hashlib.sha256(client_key).digest(), message)
        expected = bytes(a ^ b for a, b in zip(client_key, signature))
        if user != args.user or base64.b64decode(proof) != expected:
            return self.judge(False)
        verifier = base64.b64encode(sign(sign(salted, "Server Key"), message)).decode()
        self.say("+ " + base64.b64encode(("v=" + verifier).encode()).decode())
        assert self.line() == ""
        self.judge(True)

    def do_list(self, _):
        assert self.is_open
        lines = ["%d %d" % (number, len(self.content(number))) for number, _ in self.mails()]
        self.say_lines("".join(line + "\r\n" for line in lines).encode())

    def do_uidl(self, _):
        ids = args.uidl.split(",") if args.uidl else [name for _, name in self.names]
        self.say_lines("".join("%d %s\r\n" % (number, ids[number - 1]) for number, _ in self.mails()).encode())

    def do_top(self, argument):
        number, lines = argument.split()
        assert lines == "0"
        self.say_lines(self.content(number).split(b"\r\n\r\n", 1)[0] + b"\r\n\r\n")

    def do_retr(self, number):
        self.say_lines(self.content(number))

    def do_dele(self, number):
        self.removed.add(int(number))
        self.say("+OK")

    def do_quit(self, _):
        for number, name in getattr(self, "names", []):
            if number in self.removed:
                os.unlink(os.path.join(args.directory, name))
        self.say("+OK bye")


with socket.create_server(("127.0.0.1", 0)) as listener:
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        try:
            Session(connection).run()
        except (EOFError, OSError):
            pass  # the client left
        except (AssertionError, AttributeError) as error:
            print(repr(error), file=sys.stderr, flush=True)
        connection.close()

"""Hands sockets over as systemd does, and becomes the program: python3 systemd_parent.py KIND,... NAMES PROGRAM ARGUMENT...

A kind is what lies at the next descriptor; names are what LISTEN_FDNAMES says, '-' for nothing. The process id stays the
same through exec, so LISTEN_PID can be right."""

import fcntl
import os
import socket
import sys

FIRST_DESCRIPTOR = 3


def listening(family, address, ipv6_only=1):
    made = socket.socket(family, socket.SOCK_STREAM)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, ipv6_only)
    made.bind(address)
    made.listen(100)
    return made


def idle():
    made = socket.socket()
    made.bind(("127.0.0.1", 0))
    return made


KINDS = {
    "tcp": lambda: listening(socket.AF_INET, ("127.0.0.1", 0)),
    "both": lambda: listening(socket.AF_INET6, ("::", 0), ipv6_only=0),
    "unix": lambda: listening(socket.AF_UNIX, "\0fastsmtp-test-%d" % os.getpid()),
    "udp": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "idle": idle,
    "file": lambda: open("/dev/null"),
}

kinds, names, program = sys.argv[1:4]
# Above all that are to be given, so that none is overwritten before its turn.
opened = [KINDS[kind]() for kind in kinds.split(",")]
made = [fcntl.fcntl(each.fileno(), fcntl.F_DUPFD, 100) for each in opened]
for index, descriptor in enumerate(made):
    os.dup2(descriptor, FIRST_DESCRIPTOR + index)
    os.close(descriptor)
os.environ["LISTEN_FDS"] = str(len(made))
os.environ.setdefault("LISTEN_PID", str(os.getpid()))
if names != "-":
    os.environ["LISTEN_FDNAMES"] = names
os.execv(program, sys.argv[3:])

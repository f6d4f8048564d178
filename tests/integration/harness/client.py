# SPDX-License-Identifier: Apache-2.0
"""The other end of nodes/counter.py."""
import socket

from .waiting import LIMIT


class Client:
    """address: unix:PATH, or tcp:PORT in twinit's network namespace."""

    def __init__(self, twinit, address):
        kind, where = address.split(":", 1)
        if kind == "unix":
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(LIMIT)
            target = where
        else:
            self.sock = twinit.socket(socket.AF_INET)
            target = ("127.0.0.1", int(where))
        try:
            self.sock.connect(target)
        except OSError:
            self.sock.close()
            raise
        self.file = self.sock.makefile("rw", encoding="ascii", newline="\n")

    def ask(self, line):
        self.send(line)
        answer = self.file.readline()
        if not answer:
            raise ConnectionResetError("the node closed the connection")
        return answer.rstrip("\n")

    def send(self, line):
        self.file.write(line + "\n")
        self.file.flush()

    def add(self, n=1):
        """Count n times; the count then."""
        for _ in range(n):
            value = self.ask("add")
        return int(value)

    def count(self):
        return int(self.ask("get"))

    def tids(self):
        return {int(t) for t in self.ask("tids").split()}

    def close(self):
        try:
            self.file.close()
        except OSError:
            pass
        self.sock.close()

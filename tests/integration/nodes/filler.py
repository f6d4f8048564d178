# SPDX-License-Identifier: Apache-2.0
"""filler.py SOCKET: writes to its standard output when asked to, and answers how that went."""
import errno
import os
import socket
import sys

server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
server.bind(sys.argv[1])
server.listen()
while True:
    connection, _ = server.accept()
    while connection.recv(100):
        try:
            os.write(1, b"x" * 1000)
            word = "written"
        except OSError as e:
            word = errno.errorcode[e.errno]
        connection.sendall(word.encode() + b"\n")

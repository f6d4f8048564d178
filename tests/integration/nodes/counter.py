# SPDX-License-Identifier: Apache-2.0
"""A node with a memory: counts, and says how far it is, over a socket.

counter.py ADDRESS [--threads=N] [--notify] [--watchdog] [--gate=PIPE] [--children]

A SIGHUP counts as one.

ADDRESS is unix:PATH or tcp:PORT. A line is a request, the answer is a line: add, get, pid, tids,
env NAME, children (how many have come and gone), child (make one that stays), event (the next
datagram of $TWINIT_EVENT_FD, its lines parted by blanks), notify TEXT, exit STATUS, signal NUMBER, exec, leave (one of the threads
ends), eat MEGABYTES
(of memory, for good), chew (write to all of it), and hang (which
never answers, and sends no WATCHDOG=1 any more).
"""
import os
import select
import signal
import socket
import subprocess
import sys
import threading

count = 0
n_children = 0
eaten = []
gates = []


def notify(text):
    if "NOTIFY_SOCKET" not in os.environ:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(text.encode(), os.environ["NOTIFY_SOCKET"])


def answer(words):
    global count
    if words[0] == "add":
        count += 1
        return str(count)
    if words[0] == "get":
        return str(count)
    if words[0] == "children":
        return str(n_children)
    if words[0] == "pid":
        return str(os.getpid())
    if words[0] == "tids":
        # As Python has them in its memory, not as the kernel says.
        return " ".join(str(t.native_id) for t in threading.enumerate())
    if words[0] == "env":
        return os.environ.get(words[1], "")
    if words[0] == "event":
        with socket.socket(fileno=os.dup(int(os.environ["TWINIT_EVENT_FD"]))) as s:
            return s.recv(1000).decode().replace("\n", " ")
    if words[0] == "notify":
        notify(" ".join(words[1:]))
        return "sent"
    if words[0] == "hang":
        threading.Event().wait()
    if words[0] == "exit":
        os._exit(int(words[1]))
    if words[0] == "eat":
        for _ in range(int(words[1])):
            eaten.append(bytearray(b"x" * 2**20))
        return "burp"
    if words[0] == "leave":
        gates.pop().set()
        return "bye"
    if words[0] == "chew":
        for piece in eaten:
            piece[::4096] = b"y" * 256
        return "burp"
    if words[0] == "signal":
        os.kill(os.getpid(), int(words[1]))
    if words[0] == "child":
        return str(subprocess.Popen(["/bin/sleep", "1000"]).pid)
    if words[0] == "exec":
        os.execv(sys.executable, [sys.executable, "-B", *sys.argv])
    return "?"


def have_children():
    global n_children
    while True:
        subprocess.run(["/bin/sleep", "0.01"], check=False)
        n_children += 1


def listen(address):
    kind, where = address.split(":", 1)
    if kind == "unix":
        if os.path.exists(where):
            os.unlink(where)
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.bind(where)
    else:
        s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", int(where)))
    s.listen()
    return s


def serve(server, timeout):
    epoll = select.epoll()
    epoll.register(server, select.EPOLLIN)
    clients = {}
    while True:
        if timeout:
            notify("WATCHDOG=1")
        for fd, _ in epoll.poll(timeout):
            if fd == server.fileno():
                c, _ = server.accept()
                clients[c.fileno()] = c
                epoll.register(c, select.EPOLLIN)
                continue
            try:
                data = clients[fd].recv(4096)
            except ConnectionResetError:
                data = b""
            if not data:
                epoll.unregister(fd)
                clients.pop(fd).close()
                continue
            for line in data.decode().splitlines():
                clients[fd].sendall((answer(line.split()) + "\n").encode())


def on_hangup(_signum, _frame):
    global count
    count += 1


def main():
    options = sys.argv[2:]
    signal.signal(signal.SIGHUP, on_hangup)
    for o in options:
        if o.startswith("--threads="):
            for _ in range(int(o.split("=")[1])):
                gates.append(threading.Event())
                threading.Thread(target=gates[-1].wait, daemon=True).start()
        if o.startswith("--gate="):
            with open(o.split("=")[1], encoding="ascii") as f:
                f.readline()
    server = listen(sys.argv[1])
    if "--children" in options:
        threading.Thread(target=have_children, daemon=True).start()
    if "--notify" in options:
        notify(f"READY=1\nSTATUS=listening on {sys.argv[1]}")
    serve(server, 0.1 if "--watchdog" in options else None)


main()

"""The client of P13: requests over a few connections at a time, with blocking sockets, in a process of its own.

Started as `python -m bench.client`; each line that it reads, `PORT METHOD PATH COUNT`, it carries out, and answers with
the seconds that this took, its own CPU seconds of them, and the last body. All connections are sent a request, then all
answers are read: so the server has work while the client is at it. A connection that the server closes is made anew.
"""

from __future__ import annotations

import socket
import sys
from time import perf_counter, process_time

__all__ = ["load"]

HOST = "127.0.0.1"
AT_ONCE = 6
BODY = b"twelve bytes"
FIELDS = (
    "Host: docs.example.org\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"
    "Accept: */*\r\n"
    "Accept-Encoding: gzip, deflate, br\r\n"
    "Accept-Language: en-GB,en;q=0.7\r\n"
    "Cookie: session=5f3c1b0a9d8e7f6a5b4c3d2e1f0a9b8c\r\n"
)


def request(method: str, path: str) -> bytes:
    writing = f"Content-Type: text/plain\r\nContent-Length: {len(BODY)}\r\n" if method == "PUT" else ""
    head = f"{method} {path} HTTP/1.1\r\n{FIELDS}{writing}\r\n".encode()
    return head + BODY if method == "PUT" else head


class Connection:
    """One connection, made when there is something to send."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.socket: socket.socket | None = None

    def send(self, wanted: bytes) -> None:
        if self.socket is None:
            self.socket = socket.create_connection((HOST, self.port), timeout=30)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(wanted)

    def answer(self) -> bytes:
        """The body of the answer, which has to be a 200 with its length told."""
        assert self.socket is not None
        got = b""
        while (end := got.find(b"\r\n\r\n")) < 0:
            got += self._more(got)
        head = got[:end].lower()
        if head.split(b" ", 2)[1] != b"200":
            raise RuntimeError(f"the answer is {got[:end]!r}, not a 200; this would be another figure")
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        while len(got) < end + 4 + length:
            got += self._more(got)
        if b"connection: close" in head:
            self.close()
        return got[end + 4 :]

    def _more(self, got: bytes) -> bytes:
        assert self.socket is not None
        more = self.socket.recv(65_536)
        if not more:
            raise RuntimeError(f"the server hung up after {got!r}")
        return more

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None


def load(port: int, method: str, path: str, count: int) -> bytes:
    """So many requests; the last body."""
    wanted, body = request(method, path), b""
    connections = [Connection(port) for _ in range(min(AT_ONCE, count))]
    try:
        for first in range(0, count, len(connections)):
            busy = connections[: count - first]
            for connection in busy:
                connection.send(wanted)
            for connection in busy:
                body = connection.answer()
    finally:
        for connection in connections:
            connection.close()
    return body


def main() -> None:
    for line in sys.stdin:
        port, method, path, count = line.split()
        start, cpu = perf_counter(), process_time()
        body = load(int(port), method, path, int(count))
        print(perf_counter() - start, process_time() - cpu, body.decode(), flush=True)


if __name__ == "__main__":
    main()

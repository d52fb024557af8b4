"""Clients of the HTTP port that mean harm: as many as wanted, all at once, again and again."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue

import trio

POISONS = (
    b"",
    b"GET /metrics HTTP/1.1\r\nHo",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 100,
    b"GET /status HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n",
    b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000,
    b"GET /status?" + b"a&" * 2000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET http://other/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
)
BREATH = 0.05
"""Seconds between two connections of one client: two hundred of them shall not be a test of the machine."""
HOLD = 2.0
"""Seconds for which a client holds what it has got, before it tries again."""


class Siege:
    """So many of them, in a thread of their own."""

    def __init__(self, port: int, clients: int) -> None:
        self._port = port
        self._clients = clients
        self.tried = 0
        self._over = trio.CancelScope()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """For the length of the block all clients try again and again."""
        started: SimpleQueue[trio.lowlevel.TrioToken] = SimpleQueue()
        thread = threading.Thread(target=trio.run, args=(self._attack, started))
        thread.start()
        token = started.get(timeout=10)
        try:
            yield
        finally:
            trio.from_thread.run_sync(self._over.cancel, trio_token=token)
            thread.join()

    async def _attack(self, started: SimpleQueue[trio.lowlevel.TrioToken]) -> None:
        started.put(trio.lowlevel.current_trio_token())
        with self._over:
            async with trio.open_nursery() as nursery:
                for number in range(self._clients):
                    nursery.start_soon(self._client, POISONS[number % len(POISONS)])

    async def _client(self, poison: bytes) -> None:
        while True:
            with suppress(OSError, trio.BrokenResourceError):  # being closed or reset is its lot
                async with await trio.open_tcp_stream("127.0.0.1", self._port) as stream:
                    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                    self.tried += 1
                    with trio.move_on_after(HOLD):
                        await stream.send_all(poison)
                        async for _ in stream:
                            await trio.sleep(BREATH)  # as slowly as can be
            await trio.sleep(BREATH)

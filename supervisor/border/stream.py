"""Our end of a stream that a program fills: values as they come, and a beat in between that says that it works."""

import contextlib
import socket
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar

import msgspec

from supervisor.border import framing
from supervisor.border.life import Life
from supervisor.border.messages import Answer, Beat, End, Failure
from supervisor.errors import BorderFailed

T = TypeVar("T")

_Message = msgspec.msgpack.Decoder(Answer | Beat | End | Failure)


class BorderStream(Generic[T]):
    """The values of one stream: ``async for`` under trio, in a ``with`` block that closes it.

    It ends when the program has no more. ``BorderFailed`` is raised when the program's code raised, when its process ends, and
    when it has sent nothing, not even a beat, for too long; then it was killed. Values that nobody takes make the program wait.
    """

    def __init__(
        self, life: Life, connection: socket.socket, kind: Any, late: float, named: Callable[[object], BorderFailed]
    ) -> None:
        """``late``: seconds without a beat after which the program hangs. ``named`` makes an error of a fate."""
        self._life = life
        self._connection = connection
        self._kind: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(kind)
        self._late = late
        self._named = named
        self._inbox = framing.Inbox()
        self._messages: deque[bytes] = deque()
        connection.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        """The next value."""
        while True:
            try:
                with self._life.blamed("its stream", f"had no beat for {self._late:.3g} s"):
                    message = _Message.decode(await self._next())
                    if isinstance(message, Answer):
                        return self._kind.decode(message.value)
            except BorderFailed as error:
                raise self._named(error) from error
            if isinstance(message, Failure):
                raise self._named(message.text)
            if isinstance(message, End):
                raise StopAsyncIteration

    def close(self) -> None:
        """Want no more of it. The program sees that at its next value or beat."""
        self._connection.close()

    async def _next(self) -> bytes:
        while not self._messages:
            some = await self._received()
            if not some:
                raise EOFError
            self._inbox.put(some)
            self._messages += self._inbox.take()
        return self._messages.popleft()

    async def _received(self) -> bytes:
        """The next bytes; none at the end. Raises ``TimeoutError`` after two silent waits: after a pause of this machine, or of our
        own thread, the first is late in any case.
        """
        import trio  # not at the top: what imports this package may do without

        for _ in range(2):
            with trio.move_on_after(self._late / 2):
                while True:
                    await trio.lowlevel.wait_readable(self._connection)
                    with contextlib.suppress(BlockingIOError, InterruptedError):
                        return self._connection.recv(65536)
        raise TimeoutError

"""What runs in a process behind a border: ``python -P -m MODULE CONTROL LIFELINE NAME``.

``CONTROL`` is a socket for the start and for new connections; ``LIFELINE`` is a pipe whose other end only the process holds that
started this one. Kept small: a program's whole process has to cost little memory.
"""

import contextlib
import fcntl
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import msgspec

from supervisor.border import framing
from supervisor.border.messages import Answer, Beat, Call, End, Failure, Start, Started
from supervisor.errors import AllocationRefused, PluginRefused

OUT_OF_MEMORY = 70
"""Exit status after an allocation that the limit refused: a leak does not go away by itself, a new process has none."""

BEAT = 1.0
"""Seconds without a message in a stream after which a call of ``Outlet.beat`` sends one."""


class StreamClosed(Exception):
    """Nobody listens to the stream any more; the function that fills it lets this pass."""


class Outlet:
    """The program's end of a stream. Used by the one thread that does the work, so that its beat says that this thread turns."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._sent = float("-inf")

    @property
    def closed(self) -> bool:
        """Whether the other side has closed it."""
        return bool(select.select([self._connection], [], [], 0)[0])

    def send(self, value: object) -> None:
        """Send a value; waits while the other side has too much to read. Raises ``StreamClosed``."""
        self._send(Answer(msgspec.Raw(msgspec.msgpack.encode(value))))

    def beat(self) -> None:
        """Say that the work goes on; to be called at least once in ``BEAT`` seconds, and as often as you like."""
        if time.monotonic() - self._sent >= BEAT:
            self._send(Beat())

    def _send(self, message: msgspec.Struct) -> None:
        try:
            framing.send(self._connection, message)
        except OSError as error:
            raise StreamClosed from error
        self._sent = time.monotonic()


class Program(msgspec.Struct, frozen=True):
    """What a program does with each type of request. Requests of several connections are worked on side by side."""

    answers: Mapping[type[msgspec.Struct], Callable[[Any], object]]
    """Functions of a request that return its answer, anything that msgspec can encode."""
    streams: Mapping[type[msgspec.Struct], Callable[[Any, Outlet], None]] = {}
    """Functions of a request and an outlet, which send until there is no more, ``StreamClosed`` is raised, or for ever. They call
    ``Outlet.beat`` in time: a stream without a beat is taken for one that hangs."""


def serve_program(make: Callable[[Any], Program], options: type[msgspec.Struct] | None = None) -> NoReturn:
    """Be a program: what the module of an entry point in ``device_plugin_supervisor.programs`` does as ``__main__``.

    ``make`` is called once with the options that the ``Border`` was made with, as that type. What it raises is told as the reason
    why there is no program. The process ends with the one that started it, whatever its code does.
    """
    control = take_over_descriptors()
    start = msgspec.msgpack.decode(framing.receive(control), type=Start)
    limit_memory(start.memory)
    try:
        program = make(msgspec.msgpack.decode(start.options, type=Any if options is None else options))
        framing.send(control, Started())
    except BaseException as error:  # noqa: BLE001 - `make` is code of the program
        framing.send(control, failure(error, told))
        os._exit(1)
    serve_connections(control, lambda connection: _serve(connection, program))


def take_over_descriptors() -> socket.socket:
    """The control connection; from now on this process is killed when the one ends that started it."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    _die_with_the_other_end(int(sys.argv[2]))
    return control


def _die_with_the_other_end(lifeline: int) -> None:
    """Have the kernel kill us when the other process ends, however: code that holds the interpreter lock cannot prevent it.

    The parent-death signal would not do: it comes when the *thread* ends that started us.
    """
    os.set_inheritable(lifeline, False)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([lifeline], [], [], 0)[0]:
        os._exit(0)  # it ended before


def limit_memory(most: int) -> None:
    """Allow so many bytes of data; where memory runs out all the same, the kernel is to take this process first."""
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib costs memory
        file.write("1000")


def serve_connections(control: socket.socket, serve: Callable[[socket.socket], None]) -> NoReturn:
    """Give each connection that comes over ``control`` to a thread, until the other side closes ``control``."""
    while True:
        connection = framing.receive_socket(control)
        if connection is None:
            os._exit(0)
        threading.Thread(target=_until_closed, args=(connection, serve), daemon=True).start()


def _until_closed(connection: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    with connection, contextlib.suppress(EOFError, OSError):  # the other side closed it
        serve(connection)


def failure(error: BaseException, describe: Callable[[BaseException], str]) -> Failure:
    """What is said of an error that this side's code raised. Ends the process where memory has run out."""
    if isinstance(error, MemoryError):
        print("out of memory: more than the limit of this plugin's process", file=sys.stderr, flush=True)  # noqa: T201 - its last words
        os._exit(OUT_OF_MEMORY)
    if isinstance(error, AllocationRefused | PluginRefused):
        return Failure(str(error), refused=True)
    return Failure(describe(error))


def told(error: BaseException) -> str:
    """An error in one line: its type, its text, and the innermost line of code."""
    text = " ".join(str(error).split())[:500]
    traceback, where = error.__traceback__, ""
    while traceback is not None:
        where = f" ({traceback.tb_frame.f_code.co_filename}, line {traceback.tb_lineno})"
        traceback = traceback.tb_next
    return type(error).__name__ + (f": {text}" if text else "") + where


def _serve(connection: socket.socket, program: Program) -> None:
    answers = {kind.__name__: (kind, function) for kind, function in program.answers.items()}
    streams = {kind.__name__: (kind, function) for kind, function in program.streams.items()}
    while True:
        call = msgspec.msgpack.decode(framing.receive(connection), type=Call)
        if call.name in streams:
            framing.send(connection, _flow(call, *streams[call.name], Outlet(connection)))
            return
        known = answers.get(call.name)
        framing.send(connection, _reply(call, *known) if known else Failure(f"{call.name} is no request that it knows"))


def _reply(call: Call, kind: Any, function: Callable[[Any], object]) -> Answer | Failure:
    try:
        answer = msgspec.msgpack.encode(function(msgspec.msgpack.decode(call.request, type=kind)))
        if len(answer) > framing.MAX_ANSWER:
            raise ValueError(f"the answer has {len(answer)} bytes; the limit is {framing.MAX_ANSWER}")
        return Answer(msgspec.Raw(answer))
    except BaseException as error:  # noqa: BLE001 - the program's code may raise anything
        return failure(error, told)


def _flow(call: Call, kind: Any, function: Callable[[Any, Outlet], None], outlet: Outlet) -> End | Failure:
    try:
        outlet.beat()
        function(msgspec.msgpack.decode(call.request, type=kind), outlet)
        return End()
    except StreamClosed as error:
        raise EOFError from error
    except BaseException as error:  # noqa: BLE001 - the program's code may raise anything
        return failure(error, told)

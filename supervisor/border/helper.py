"""The server of the helper container: it starts programs of a closed list for whoever may ask, and ends each with its asker.

The container is privileged so that these programs may open devices; hence it listens on a unix socket alone, for root and its own
user alone, and what can be asked for is the name of a program on its list and no more.
"""

import contextlib
import fcntl
import os
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import msgspec

from supervisor.border import framing
from supervisor.border.messages import Ended, Open, Opened, Refused
from supervisor.border.process import Process
from supervisor.errors import BorderFailed, NodeError

MOST_CONNECTIONS = 32
"""At the same time; each has one process at most."""
MOST_HANGING = 3
"""Killed processes of one program that may hang in the kernel before it is not started again."""
PATIENCE = 5.0
"""Seconds that a new connection has to name its program."""
GRACE = 0.5
"""Seconds that killed processes get to go before this one does."""

_CREDENTIALS = struct.Struct("3i")
_LONGEST = 107
"""Bytes of a socket's path."""


class Helper:
    """The helper, while it has its socket. Use as a context manager, ``serve`` in the main thread."""

    def __init__(self, path: str, programs: Mapping[str, str], say: Callable[[str], None]) -> None:
        """``programs``: the module of each program that may be asked for. ``say`` gets a line of text for each thing that an
        operator may want to know.
        """
        self._path = path
        self._programs = programs
        self._say = say
        self._lock = threading.Lock()
        self._connections = 0
        self._processes: dict[Process, str] = {}
        self._strangers: set[int] = set()
        self._listening: socket.socket | None = None

    def __enter__(self) -> Self:
        """Listen. Raises ``NodeError`` where another helper does, or where that is impossible."""
        with contextlib.ExitStack() as stack:
            try:
                stack.callback(os.close, _locked(f"{self._path}.lock"))
                self._listening = stack.enter_context(_listening(self._path))
            except OSError as error:
                raise NodeError(
                    f"cannot listen at {self._path}: {error.strerror or error}; mount a writable directory there"
                ) from None
            stack.callback(_remove, self._path)
            self._held = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Kill every process, and give up the socket."""
        with self._lock:
            processes = list(self._processes)
        for process in processes:
            process.kill()
        self._held.close()
        deadline = time.monotonic() + GRACE
        for process in processes:
            process.wait(max(0.0, deadline - time.monotonic()))

    def serve(self) -> None:
        """Until SIGTERM or SIGINT."""
        assert self._listening is not None
        listening = self._listening
        self._say(f"listens at {self._path}; programs: {', '.join(self._programs) or 'none is installed'}")
        with _signalled() as signals:
            while signals not in select.select([listening, signals], [], [])[0]:
                try:
                    connection, _ = listening.accept()
                    self._begin(connection)
                except (OSError, RuntimeError) as error:  # no descriptor or thread is left; others may give some back
                    self._say(f"cannot serve a connection now: {error}")
                    select.select([signals], [], [], 1.0)

    def _begin(self, connection: socket.socket) -> None:
        with self._lock:
            full = self._connections >= MOST_CONNECTIONS
            self._connections += 1
        try:
            if full:
                framing.send(connection, Refused(f"{MOST_CONNECTIONS} connections are open; is one of its clients broken?"))
                self._over(connection)
            else:
                threading.Thread(target=self._meet, args=(connection,), daemon=True).start()
        except (OSError, RuntimeError):
            self._over(connection)
            raise

    def _over(self, connection: socket.socket) -> None:
        connection.close()
        with self._lock:
            self._connections -= 1

    def _meet(self, connection: socket.socket) -> None:
        """See who it is and what it wants, in a thread of its own."""
        try:
            self._check_peer(connection)
            asked = msgspec.msgpack.decode(framing.receive(connection, time.monotonic() + PATIENCE), type=Open)
            self._start(connection, asked.program)
            return
        except BorderFailed as refusal:
            with contextlib.suppress(OSError):
                framing.send(connection, Refused(str(refusal)), time.monotonic() + 1.0)
        except (OSError, EOFError, ValueError, msgspec.MsgspecError):
            pass  # it went away, or talks about something else
        self._over(connection)

    def _check_peer(self, connection: socket.socket) -> None:
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _, uid, _ = _CREDENTIALS.unpack(credentials)
        if uid in (0, os.geteuid()):
            return
        if uid not in self._strangers and len(self._strangers) < 100:
            self._strangers.add(uid)
            self._say(f"refused user {uid}; this is told once")
        raise BorderFailed(f"user {uid} may not ask here; only root and user {os.geteuid()} may")

    def _start(self, connection: socket.socket, program: str) -> None:
        if program not in self._programs:
            known = ", ".join(self._programs) or "none"
            raise BorderFailed(f"it has no program {program[:100]!r}; there are: {known}")
        with self._lock:
            hanging = sum(name == program and process.hangs for process, name in self._processes.items())
        if hanging >= MOST_HANGING:
            raise BorderFailed(
                f"{hanging} killed processes of {program} hang in the kernel; no other is started before one ends"
            )
        ours, theirs = socket.socketpair()
        opened = threading.Event()

        def at_end() -> None:
            opened.wait()
            self._end(connection, process)

        with ours, theirs:
            module = self._programs[program]
            process = Process(module, program, control=theirs, tie=connection, at_end=at_end)
            with self._lock:
                self._processes[process] = program
            self._say(f"started {program}, process {process.pid}")
            try:
                framing.send(connection, Opened(process.pid), time.monotonic() + PATIENCE)
                framing.send_socket(connection, ours)
            except OSError:  # its keeper sees that, too
                process.kill()
            finally:
                opened.set()

    def _end(self, connection: socket.socket, process: Process) -> None:
        how = process.how()
        with self._lock:
            program = self._processes.pop(process)
        self._say(f"{program}, process {process.pid}: {how}")
        with contextlib.suppress(OSError):
            framing.send(connection, Ended(how), time.monotonic() + 1.0)
        self._over(connection)


def _locked(path: str) -> int:
    """A lock that only this process has; the kernel gives it up. Raises ``NodeError`` when another process has it."""
    if len(os.fsencode(path)) > _LONGEST:
        raise NodeError(f"the path {path.removesuffix('.lock')} is too long for a socket; {_LONGEST - 5} bytes are possible")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise NodeError(f"another helper listens at {path.removesuffix('.lock')}; end that one first") from None
    return descriptor


def _listening(path: str) -> socket.socket:
    """A socket that listens at ``path``, in place of what an ended helper left. Seen there only when it can be connected to."""
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
        probe.connect(path)
        raise NodeError(f"something that is no helper listens at {path}; give this one a --socket of its own")
    listening = socket.socket(socket.AF_UNIX)
    try:
        _remove(new := f"{path}.new")
        listening.bind(new)
        Path(new).chmod(0o600)
        listening.listen(MOST_CONNECTIONS)
        os.rename(new, path)
    except OSError:
        listening.close()
        raise
    return listening


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


@contextmanager
def _signalled() -> Iterator[socket.socket]:
    """A socket that becomes readable when this process is asked to end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield ours
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(wakeup)

"""One life of an isolated package: its process, the connections to it, its last words, and its end."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import msgspec

from supervisor.errors import AllocationRefused, PluginFailed, PluginRefused
from supervisor.isolation import frames

_LAST_WORDS = 500
"""Bytes of its output that are kept; when it has ended by itself, their last line is told."""

_Reply = frames.Answer | frames.Unchanged | frames.Failure
_FirstReply = frames.Started | frames.Failure


class Process:
    """A running child. A thread passes on its error output and reaps it; everything else is called by whoever has a question.

    The process leads a session of its own, and is killed with all that it started.
    """

    def __init__(self, start: frames.Start, deadline: float) -> None:
        """Start it and wait until it has loaded the package. Raises ``PluginRefused`` and ``PluginFailed``."""
        self.package = start.package
        self._lock = threading.Lock()
        self._idle: defaultdict[str, list[socket.socket]] = defaultdict(list)
        self._ended = threading.Event()
        self._start_over = threading.Event()
        self._killed_because = ""
        self._last_words = b""
        self._control, theirs = socket.socketpair()
        read_end, self._lifeline = os.pipe()
        try:
            self._popen = subprocess.Popen(
                [sys.executable, "-P", "-m", "supervisor.isolation.child", str(theirs.fileno()), str(read_end), self.package],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs.fileno(), read_end),
                start_new_session=True,
            )
            threading.Thread(target=self._keep, name=f"{self.package} keeper", daemon=True).start()
        except (OSError, RuntimeError) as error:  # the node's limit of processes or threads is reached
            self._control.close()
            os.close(self._lifeline)  # with it a process that has no keeper ends
            raise PluginFailed(f"no process can be started for it: {error}") from error
        finally:
            theirs.close()
            os.close(read_end)
        try:
            self.started = self._start(start, deadline)
        finally:
            self._start_over.set()

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def ended(self) -> bool:
        """Whether it is gone and reaped. A killed one may hang in the kernel for ever."""
        return self._ended.is_set()

    @property
    def usable(self) -> bool:
        """Whether it makes sense to ask it anything."""
        return not (self._killed_because or self.ended)

    def kill(self, because: str) -> None:
        """End it with all it started; waits for nothing. Harmless when it has ended."""
        with self._lock:
            if not self._ended.is_set():
                self._killed_because = self._killed_because or because
                self._kill_all()

    def wait(self, timeout: float) -> bool:
        """Wait for its end, at most so many seconds; whether it came."""
        return self._ended.wait(timeout)

    def ask(self, request: frames.Request, deadline: float, lane: str = "") -> frames.Answer | frames.Unchanged:
        """The answer to a request. Past ``deadline`` (``time.monotonic()``) the process is killed.

        Requests of one ``lane`` that do not overlap run in one thread over there. Raises ``AllocationRefused`` as the plugin
        did, and ``PluginFailed`` for everything else.
        """
        what, seconds = f"{request.__struct_config__.tag}()", deadline - time.monotonic()
        with self._connection(lane) as connection, self.blamed(what, f"took longer than {max(seconds, 0):.3g} s"):
            frames.send(connection, request, deadline)
            reply: _Reply = msgspec.msgpack.decode(frames.receive(connection, deadline), type=_Reply)
        if isinstance(reply, frames.Failure):
            raise AllocationRefused(reply.text) if reply.refused else PluginFailed(reply.text)
        return reply

    @contextmanager
    def blamed(self, what: str, late: str = "took too long") -> Iterator[None]:
        """What goes wrong with an answer in here, the process is killed for, and ``PluginFailed`` says so."""
        try:
            yield
        except TimeoutError as error:
            self.kill(f"{what} {late}; its process was killed")
            raise PluginFailed(self.fate()) from error
        except (EOFError, OSError) as error:
            raise PluginFailed(self.fate()) from error
        except (msgspec.MsgspecError, ValueError) as error:
            self.kill(f"{what} was answered with nonsense ({error}); its process was killed")
            raise PluginFailed(self.fate()) from error

    @contextmanager
    def _connection(self, lane: str) -> Iterator[socket.socket]:
        """A connection that is idle in this lane, else a new one. After an error it is not used again."""
        with self._lock:
            idle = self._idle[lane]
            connection = idle.pop() if idle else None
        connection = connection or self.connect()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        with self._lock:
            if not self._ended.is_set():
                self._idle[lane].append(connection)
                return
        connection.close()

    def connect(self) -> socket.socket:
        """A new connection, served by a thread of its own on the other side. Raises ``PluginFailed``."""
        ours, theirs = socket.socketpair()
        try:
            with theirs, self._lock:
                if self._ended.is_set():
                    raise EOFError
                socket.send_fds(self._control, [b"+"], [theirs.fileno()])
        except (OSError, EOFError) as error:
            ours.close()
            raise PluginFailed(self.fate()) from error
        return ours

    def fate(self) -> str:
        """Why there is no answer from it: a sentence for people. Waits up to a second for the end that a lost connection means."""
        if not (self._killed_because or self._ended.wait(1.0)):
            self.kill("its process closed the connection, and was killed")
        if self._killed_because:
            return self._killed_because
        code = self._popen.returncode
        how = f"was killed by {_signal_name(-code)}" if code < 0 else f"exited with status {code}"
        said = self._last_words.decode(errors="replace").strip().rpartition("\n")[2]
        return f"its process {how}" + (f": {said}" if said else "")

    def _start(self, start: frames.Start, deadline: float) -> frames.Started:
        try:
            with self.blamed("loading it"):
                frames.send(self._control, start, deadline)
                reply: _FirstReply = msgspec.msgpack.decode(frames.receive(self._control, deadline), type=_FirstReply)
        except PluginFailed:
            self.kill("loading it failed")
            raise
        self._control.settimeout(1.0)  # to hand over a descriptor takes no time, and its loop does nothing else
        if isinstance(reply, frames.Failure):
            self.kill("loading it failed")
            raise PluginRefused(reply.text) if reply.refused else PluginFailed(reply.text)
        return reply

    def _keep(self) -> None:
        """Pass on what it prints until it has ended, then reap it. The only place that closes our ends."""
        output = self._popen.stdout
        assert output is not None
        poller = select.poll()
        poller.register(output, select.POLLIN)
        poller.register(self._control, 0)  # hung up when the process is gone
        while self._control.fileno() not in (events := dict(poller.poll())):
            if output.fileno() in events and not self._pass_on(os.read(output.fileno(), 65536)):
                poller.unregister(output)
        if select.select([output], [], [], 0)[0]:
            self._pass_on(os.read(output.fileno(), 65536))
        with self._lock:
            self._kill_all()
        with contextlib.suppress(ChildProcessError):  # whoever started us may have it so that the kernel reaps
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with self._lock:  # until it is reaped, its number is nobody else's
            self._kill_all()
            self._popen.wait()
            self._ended.set()
        self._start_over.wait()  # it may have answered and ended; the answer is to be read
        for connection in (self._control, *chain.from_iterable(self._idle.values())):
            connection.close()
        output.close()
        os.close(self._lifeline)
        with contextlib.suppress(ChildProcessError):
            while True:  # as the first process of a container we inherit, and must reap, what it had started
                os.waitpid(-self.pid, 0)

    def _kill_all(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def _pass_on(self, output: bytes) -> bool:
        self._last_words = (self._last_words + output)[-_LAST_WORDS:]
        with contextlib.suppress(OSError):  # our own error output may be closed
            os.write(2, output)
        return bool(output)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

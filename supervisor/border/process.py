"""One child process: started with a control connection and a lifeline, its output passed on, killed with all it started, reaped."""

import contextlib
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable

from supervisor.border.output import Output
from supervisor.errors import BorderFailed


class Process:
    """A running child: ``python -P -m MODULE CONTROL LIFELINE NAME``. A thread passes on its error output and reaps it.

    It leads a session of its own, inherits nothing but those two descriptors, and is killed when the other end of ``tie`` is
    closed or half closed, when it closes its own end of the lifeline, and with this process. The name is for people who list
    processes. ``at_end`` is called by the thread when it is gone.
    """

    def __init__(
        self, module: str, name: str, *, control: socket.socket, tie: socket.socket, at_end: Callable[[], None]
    ) -> None:
        """Start it. Raises ``BorderFailed`` where no process can be started."""
        import subprocess  # not at the top: children import this module on their way to their own

        self._tie = tie
        self._at_end = at_end
        self._lock = threading.RLock()  # a garbage collection inside may end in `kill`
        self._ended = threading.Event()
        self._output = Output()
        self._killed_at: float | None = None
        read_end, self._lifeline = os.pipe()
        try:
            self._popen = subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(control.fileno()), str(read_end), name],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(control.fileno(), read_end),
                start_new_session=True,
            )
            threading.Thread(target=self._keep, name=f"{name} keeper", daemon=True).start()
        except (OSError, RuntimeError) as error:  # the node's limit of processes or threads is reached
            os.close(self._lifeline)  # with it a process that has no keeper ends
            raise BorderFailed(f"no process can be started for it: {error}") from error
        finally:
            os.close(read_end)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def ended(self) -> bool:
        """Whether it is gone and reaped. A killed one may hang in the kernel for ever."""
        return self._ended.is_set()

    @property
    def hangs(self) -> bool:
        """Whether it was killed more than a second ago and the kernel has not let it go: a driver does not return."""
        return self._killed_at is not None and not self.ended and time.monotonic() - self._killed_at > 1.0

    def wait(self, timeout: float) -> bool:
        """Wait for its end, at most so many seconds; whether it came."""
        return self._ended.wait(timeout)

    def kill(self) -> None:
        """End it with all it started; waits for nothing. Harmless when it has ended."""
        with self._lock:
            if not self._ended.is_set():
                self._kill_all()

    def how(self) -> str:
        """How it ended, and what it said last: ``its process exited with status 1: no such file``. Only when it has."""
        code = self._popen.returncode
        how = f"was killed by {_signal_name(-code)}" if code < 0 else f"exited with status {code}"
        said = self._output.last_line
        return f"its process {how}" + (f": {said}" if said else "")

    def _keep(self) -> None:
        """Pass on what it prints until it has ended, then reap it."""
        output = self._popen.stdout
        assert output is not None
        self._pass_on_until_end(output.fileno())
        with self._lock:
            self._kill_all()
        with contextlib.suppress(ChildProcessError):  # whoever started us may have it so that the kernel reaps
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with self._lock:  # until it is reaped, its number is nobody else's
            self._kill_all()
            self._popen.wait()
            self._ended.set()
        self._at_end()
        output.close()
        os.close(self._lifeline)
        with contextlib.suppress(ChildProcessError):
            while True:  # as the first process of a container we inherit, and must reap, what it had started
                os.waitpid(-self.pid, 0)

    def _pass_on_until_end(self, output: int) -> None:
        poller = select.poll()
        poller.register(output, select.POLLIN)
        poller.register(self._lifeline, 0)  # an error when the process is gone
        poller.register(self._tie, select.POLLRDHUP)
        while not {self._lifeline, self._tie.fileno()} & (events := dict(poller.poll())).keys():
            if output in events and not self._output.pass_on(os.read(output, 65536)):
                poller.unregister(output)
        if select.select([output], [], [], 0)[0]:
            self._output.pass_on(os.read(output, 65536))

    def _kill_all(self) -> None:
        self._killed_at = self._killed_at or time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

"""A program under test: started, talked to line by line with deadlines, and ended with all that it started."""

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PATIENCE = 20.0
"""Seconds to wait for a sign of life; far above what any of them takes."""


class Program:
    """A child process in a process group of its own, with pipes for its input and output; errors go where ours go."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path | None = None) -> None:
        """Start it. Raises OSError where that fails."""
        self.command = command
        self._unread = b""
        self._popen = subprocess.Popen(
            command,
            env=None if env is None else dict(env),
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    def line(self, timeout: float = PATIENCE) -> str:
        """The next line of output, without its end. Raises TimeoutError, or EOFError when the output has ended."""
        assert self._popen.stdout is not None
        deadline = time.monotonic() + timeout
        while b"\n" not in self._unread:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._popen.stdout], [], [], left)[0]:
                raise TimeoutError(f"no line from {self.command[-1]} within {timeout} s")
            more = os.read(self._popen.stdout.fileno(), 65536)
            if not more:
                raise EOFError(f"{' '.join(self.command)} ended its output; exit status {self.wait()}")
            self._unread += more
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode()

    def json(self, timeout: float = PATIENCE) -> Any:
        """The next line of output as JSON."""
        return json.loads(self.line(timeout))

    def write(self, line: str) -> None:
        """Send one line. Raises BrokenPipeError when the program no longer reads."""
        assert self._popen.stdin is not None
        self._popen.stdin.write(line.encode() + b"\n")
        self._popen.stdin.flush()

    def close_input(self) -> None:
        """End the program's input."""
        assert self._popen.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._popen.stdin.close()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program alone."""
        self._popen.send_signal(number)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Its exit status. Raises subprocess.TimeoutExpired."""
        return self._popen.wait(timeout)

    def close(self) -> None:
        """Kill the program and all processes of its group, and wait for its end."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()
        self.close_input()
        if self._popen.stdout is not None:
            self._popen.stdout.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it."""
        self.close()

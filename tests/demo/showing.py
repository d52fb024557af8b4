"""One run of the demo in a process of its own, as a shell starts it, and what is left of it afterwards."""

import os
import re
import select
import signal
import subprocess
import sys
import sysconfig
import time
import uuid
import venv
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

PATIENCE = 60.0
"""Seconds for any sign of life; far above what the whole demo takes."""

ACTS = 9
SIMULATED = frozenset({"nvidia-gpu", "infiniband", "fpga"})
"""The plugin packages without which an act is left out, one act each."""


class Showing:
    """The demo with its output in pipes. A context manager, which kills what is still there."""

    def __init__(
        self,
        *arguments: str,
        wrapper: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        python: str | Path = sys.executable,
    ) -> None:
        """Start it with ``python``; ``wrapper`` is a command that starts it in turn, ``env`` replaces our environment."""
        self._mark = f"DEMO_SHOWING={uuid.uuid4()}"
        name, _, value = self._mark.partition("=")
        self.output = ""
        self._popen = subprocess.Popen(
            [*wrapper, str(python), "-m", "supervisor", "demo", *arguments],
            env={**(os.environ if env is None else env), name: value},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
        )

    def until(self, text: str) -> None:
        """Read until a text has come. Raises TimeoutError, or EOFError with all the output."""
        assert self._popen.stdout is not None
        deadline = time.monotonic() + PATIENCE
        while text not in self.output:
            if not select.select([self._popen.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"no {text!r} in:\n{self.output}")
            more = os.read(self._popen.stdout.fileno(), 65536)
            if not more:
                raise EOFError(f"no {text!r} in:\n{self.output}{self._popen.communicate()[1].decode()}")
            self.output += more.decode()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its process group, as a terminal does."""
        os.killpg(self._popen.pid, number)

    def stop_reading(self) -> None:
        """Close our end of its output."""
        assert self._popen.stdout is not None
        self._popen.stdout.close()
        self._popen.stdout = None

    def end(self) -> tuple[int, str]:
        """Wait for its end; its exit code and what it wrote to standard error."""
        rest, errors = self._popen.communicate(timeout=PATIENCE)
        self.output += (rest or b"").decode()
        return self._popen.returncode, errors.decode()

    @property
    def done(self) -> int:
        """How many acts came true."""
        return len(re.findall(r"^ *✓ ", self.output, re.MULTILINE))

    def processes(self) -> dict[int, str]:
        """Everything that runs for it: process id → command line."""
        found = {}
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                environment = (directory / "environ").read_bytes().split(b"\0")
                command = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue  # it has ended
            if self._mark.encode() in environment:
                found[int(directory.name)] = command
        return found

    def left_behind(self) -> list[str]:
        """Whatever of it is still there."""
        paths = re.findall(r"/[^\s,]*/dps-demo-[^\s,/]+|/dev/loop[0-9]{3}", self.output)
        assert paths, "it has said where its directory is"
        return [*self.processes().values(), *(path for path in set(paths) if os.path.lexists(path))]

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Kill it, and what it may have left."""
        for pid in (self._popen.pid, *self.processes()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._popen.communicate()


def python_without(packages: Collection[str], folder: Path) -> Path:
    """The Python of a virtual environment with all that is installed in ours, but these plugin packages; each act less takes seconds less."""
    venv.create(folder, symlinks=True)
    names = [package.replace("-", "_") for package in packages]
    for kind in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        site = folder / Path(kind).relative_to(sys.prefix)
        for entry in Path(kind).iterdir():
            if not any(name in entry.name for name in names):
                (site / entry.name).symlink_to(entry)
    return folder / "bin" / "python"

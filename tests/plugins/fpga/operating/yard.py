"""A place to operate FPGAs that are not there: a machine, bitstreams, locks, and drivers that can fail at each step."""

import errno
import hashlib
import os
import posixpath
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from supervisor_fpga.operating import devices
from supervisor_fpga.operating.kernel import Node
from supervisor_fpga.operating.messages import Bitstream, Prepare, Prepared
from supervisor_fpga.operating.outcome import Clock
from supervisor_fpga.operating.preparing import Preparer
from supervisor_fpga.operating.program import tools
from supervisor_fpga.operating.settings import Settings
from supervisor_fpga.operating.simulated import Simulated, bitstream
from supervisor_fpga.operating.steps import prepare
from supervisor_fpga.operating.ways import dfl
from supervisor_fpga.simulate.intel import A10_INTERFACE, NLB3
from supervisor_fpga.simulate.machine import Machine
from supervisor_fpga.simulate.tree import Tree
from tests.plugins.fpga.machines import CARD, MACHINES

PATIENCE = 20.0
"""Seconds for what does come, on a busy machine."""
NAMES = {dfl.PORT_RESET: "reset", dfl.PORT_PR: "program"}


class Drivers(Simulated):
    """Simulated ones that note what is asked of them, and do what a test wants instead."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.before: dict[str, Callable[[], object]] = {}
        """By call, without its place: what happens first. It may raise, and it may hang."""
        self.commands: list[list[str]] = []

    def fail(self, call: str, number: int) -> None:
        def failing() -> None:
            raise OSError(number, os.strerror(number))

        self.before[call] = failing

    @contextmanager
    def opened(self, node: Node, *, exclusive: bool) -> Iterator[int]:
        self._note("open", posixpath.basename(node.folder))
        with super().opened(node, exclusive=exclusive) as descriptor:
            yield descriptor

    def ioctl(self, descriptor: int, request: int, argument: bytes = b"") -> None:
        self._note(NAMES[request], posixpath.basename(self._open[descriptor].folder))
        super().ioctl(descriptor, request, argument)

    def write(self, path: str, text: str) -> None:
        self._note("write", "/".join(path.split("/")[-2:]))
        super().write(path, text)

    def run(self, arguments: Sequence[str], clock: Clock, lock: int) -> None:
        self.commands.append([posixpath.basename(arguments[0]), *arguments[1:]])

    def _note(self, call: str, where: str) -> None:
        self.calls.append(f"{call} {where}")
        for name in (call, f"{call} {where}"):
            self.before.get(name, int)()


class Yard:
    """Everything, below a directory of the test."""

    def __init__(self, root: Path, machine: str | Machine, command: str = "") -> None:
        self.tree = Tree(root / "machine", MACHINES[machine]() if isinstance(machine, str) else machine)
        self.settings = Settings(str(root / "bitstreams"), str(root / "locks"), command)
        self.folder = root / "bitstreams"
        self.folder.mkdir(mode=0o755)
        self.drivers = Drivers()
        view = devices.Tree(str(self.tree.sys), str(self.tree.dev))
        self.tools = tools(view, self.drivers, self.settings)
        self.preparer = Preparer(partial(prepare, self.tools))

    def file(self, name: str = "nlb3.gbs", content: bytes | None = None, **facts: str) -> Bitstream:
        """A bitstream in the directory, as a resource names it; without a content, one that makes ``NLB3`` of the A10 card."""
        content = bitstream(A10_INTERFACE, NLB3) if content is None else content
        path = self.folder / name
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o644)
        return Bitstream(name, hashlib.sha256(content).hexdigest(), **facts)

    def prepare(
        self,
        wanted: Bitstream | None = None,
        function: str = CARD,
        *,
        ways: tuple[str, ...] = ("dfl-ioctl", "fpga-manager"),
        backend: str = "dfl",
        seconds: float = PATIENCE,
        reset: bool = False,
    ) -> Prepared:
        deadline = time.monotonic() + seconds
        return self.preparer.answer(Prepare(function, "", backend, deadline, wanted, ways, reset=reset))

    def attribute(self, path: str, says: str | None = None) -> str:
        """What one says, by the end of its path; with ``says``, from now on."""
        (found,) = {file.resolve() for file in (self.tree.sys / "devices").rglob(path)}
        if says is not None:
            found.write_text(f"{says}\n")
        return found.read_text().strip()


class Gate:
    """What hangs until it is opened; ``reached`` tells that somebody hangs in it."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._open = threading.Event()

    def __call__(self) -> None:
        self.reached.set()
        assert self._open.wait(60), "nobody has opened it"

    def open(self) -> None:
        self._open.set()


def until(happened: Callable[[], bool]) -> None:
    """Wait for something that shows only when it is looked at."""
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline, "it has not happened"
        time.sleep(0.002)


ERRORS = (errno.EIO, errno.ETIMEDOUT, errno.ENODEV, errno.EBUSY, errno.EPERM, errno.EINVAL)

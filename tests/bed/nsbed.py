"""The bed: network and mount namespaces in which a program sees a made-up machine, with real netlink and real libudev.

The tree is edited from outside, before and while programs run in the bed; an agent inside sends the events.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from tests.bed.fakesys import Tree
from tests.bed.program import Program

IMPORT_ROOT = Path(__file__).parents[2]
"""From where the agent can import this package."""

Source = Literal["kernel", "udev"]
BOTH: tuple[Source, ...] = ("kernel", "udev")

ENVIRONMENT = {"SYSTEMD_DEVICE_VERIFY_SYSFS": "0"}
"""libudev shows devices only below a mounted sysfs, unless it is told that this /sys is meant to be none."""


class Bed:
    """A machine made up of a tree. Raises RuntimeError where namespaces are refused.

    `udev_control` puts the file there by which libudev knows that udevd runs: without it libudev silently sends no udev
    events to a monitor, as in an ordinary container. `binds` maps directories to the places where programs in the bed
    shall see them. `privileged=False` needs no root: its tree is made of files, each covered by /dev/null, so the nodes
    must be in the tree before the bed is made.
    """

    def __init__(
        self,
        tree: Tree,
        *,
        udev_control: bool = True,
        binds: Mapping[Path, Path] | None = None,
        privileged: bool = True,
    ) -> None:
        """Make the namespaces and wait until the tree is mounted."""
        self.tree = tree
        if udev_control:
            (tree.udev / "control").touch()
        self._flags = ["-n", "-m"] if privileged else ["-U", "-n", "-m"]
        mapping = [] if privileged else ["-r"]
        agent = ["unshare", *self._flags, *mapping, sys.executable, "-m", "tests.bed.agent"]
        self._resources = contextlib.ExitStack()
        self._agent = self._resources.enter_context(Program(agent, cwd=IMPORT_ROOT))
        try:
            self._ask(
                {
                    "root": str(tree.root),
                    "real_nodes": tree.real_nodes,
                    "binds": {str(source): str(target) for source, target in (binds or {}).items()},
                }
            )
        except (EOFError, BrokenPipeError) as error:
            self.close()
            raise RuntimeError(f"no namespaces: {error}") from error

    def _ask(self, request: Mapping[str, object]) -> None:
        self._agent.write(json.dumps(request))
        if (answer := self._agent.line()) != "ok":
            raise RuntimeError(f"{request}: {answer}")

    def command(self, *command: str) -> list[str]:
        """The command that runs another one in the bed, for callers that start it themselves."""
        credentials = ["--preserve-credentials"] if "-U" in self._flags else []
        return ["nsenter", "-t", str(self._agent.pid), *self._flags, *credentials, "--", *command]

    def spawn(self, *command: str, **env: str) -> Program:
        """Start a program in the bed, by absolute path or from PATH; its working directory is the root directory.

        It is killed with all that it started when the bed is closed.
        """
        program = Program(self.command(*command), os.environ | ENVIRONMENT | env)
        return self._resources.enter_context(program)

    def run(self, *command: str, timeout: float = 60, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a program in the bed to its end. Raises subprocess.TimeoutExpired; a failing status is the caller's."""
        return subprocess.run(
            self.command(*command),
            env=os.environ | ENVIRONMENT | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def emit(self, action: str, devpath: str, sources: tuple[Source, ...] = BOTH, **extra: str) -> None:
        """Announce an event of a device of the tree, first as the kernel and then as udevd does."""
        self.announce(action, devpath, self.tree.subsystem(devpath), self.tree.properties(devpath) | extra, sources)

    def announce(
        self, action: str, devpath: str, subsystem: str, properties: Mapping[str, str], sources: tuple[Source, ...] = BOTH
    ) -> None:
        """Announce an event of a device that need not be in the tree."""
        event = {"action": action, "devpath": devpath, "subsystem": subsystem, "properties": dict(properties)}
        for source in sources:
            self._ask(event | {"source": source})

    def plugged(self, *devpaths: str, sources: tuple[Source, ...] = BOTH) -> None:
        """Announce devices that have just been added to the tree."""
        for devpath in devpaths:
            self.emit("add", devpath, sources)

    def unplug(self, *devpaths: str, sources: tuple[Source, ...] = BOTH) -> None:
        """Take devices away, in the order given, and announce each when it is gone, as the kernel does."""
        for devpath in devpaths:
            properties, subsystem = self.tree.properties(devpath), self.tree.subsystem(devpath)
            self.tree.remove(devpath)
            self.announce("remove", devpath, subsystem, properties, sources)

    def close(self) -> None:
        """Kill what runs in the bed; with the last process the kernel takes the namespaces and their mounts away."""
        self._resources.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it."""
        self.close()

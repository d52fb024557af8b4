"""A virtual machine with this host's files and another kernel, in which a scenario runs and tells what it sees."""

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Condition, Thread
from types import TracebackType
from typing import Any, Self

from tests.vm.archive import archive
from tests.vm.kernel import Kernel, debian

HERE = Path(__file__).parent
LOADED_FIRST = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
"""Modules without which there is no root."""
MEMORY = 1536
"""MiB"""
EMULATED = ("-accel", "tcg,thread=multi", "-cpu", "max")
"""A virtual machine within a virtual machine is a gamble, so the processor is always an emulated one."""


class Guest:
    """Boots and runs ``python -m scenario`` as root, in the root of this checkout. A context manager.

    Each line that the scenario prints is a JSON object with the key ``step``; ``told`` waits for one. All that the scenario writes
    stays in the memory of the machine. ``devices`` are QEMU's, ``files`` lie in ``/run`` of the machine.
    """

    def __init__(self, scenario: str, devices: Sequence[str] = (), files: Iterable[Path] = ()) -> None:
        self.steps: dict[str, Mapping[str, Any]] = {}
        self._scenario = scenario
        self._devices = devices
        self._files = {f"files/{path.name}": (path.read_bytes(), 0o644) for path in files}
        self._changed = Condition()
        self._ended = False
        self._running = ExitStack()

    def told(self, step: str, timeout: float = 300.0) -> Mapping[str, Any]:
        """Wait for this step and return what was told with it. Raises ``AssertionError`` with the console when it does not come."""
        with self._changed:
            self._changed.wait_for(lambda: step in self.steps or self._ended, timeout)
            if step in self.steps:
                return self.steps[step]
        raise AssertionError(f"{step!r} did not come; there came {[*self.steps]}, and on the console:\n{self.console}")

    @property
    def console(self) -> str:
        """What the kernel and the programs have written, the end of it."""
        return self._console.read_text(errors="replace")[-20_000:]

    def __enter__(self) -> Self:
        """Boot. That it runs is seen by its first step."""
        folder = Path(self._running.enter_context(tempfile.TemporaryDirectory(prefix="vm.", dir="/tmp")))
        self._console = folder / "console"
        initramfs = folder / "initramfs"
        kernel = debian()
        initramfs.write_bytes(archive(_boot_files(kernel, self._scenario) | self._files))
        command = [
            *_command(kernel, initramfs, self._console),
            *(word for device in self._devices for word in ("-device", device)),
        ]
        process = self._running.enter_context(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE))
        reader = Thread(target=self._read, args=(process,), daemon=True)
        reader.start()
        self._running.callback(reader.join)
        self._running.callback(process.kill)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Switch it off."""
        self._running.close()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            told = json.loads(line)
            with self._changed:
                self.steps[told.pop("step")] = told
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


def _boot_files(kernel: Kernel, scenario: str) -> dict[str, tuple[bytes, int]]:
    settings = {
        "RELEASE": kernel.release,
        "FOLDER": str(HERE.parents[1]),
        "PYTHON": sys.executable,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "SCENARIO": scenario,
    }
    files = {
        "bin/busybox": (Path("/bin/busybox").read_bytes(), 0o755),
        "init": ((HERE / "init.sh").read_bytes(), 0o755),
        "session.sh": ((HERE / "session.sh").read_bytes(), 0o644),
        "settings": ("".join(f"{name}={shlex.quote(value)}\n" for name, value in settings.items()).encode(), 0o644),
    }
    modules = enumerate(kernel.files(LOADED_FIRST))
    return files | {f"modules/{number:02}-{path.name}": (path.read_bytes(), 0o644) for number, path in modules}


def _command(kernel: Kernel, initramfs: Path, console: Path) -> Sequence[str]:
    return [
        "qemu-system-x86_64",
        *("-machine", "q35", *EMULATED, "-m", str(MEMORY), "-smp", "2", "-nodefaults", "-display", "none", "-no-reboot"),
        *("-kernel", str(kernel.image), "-initrd", str(initramfs)),
        *("-append", "console=ttyS0 quiet panic=-1 tsc=unstable"),
        *("-serial", f"file:{console}", "-serial", "stdio"),
        *_share("root", Path("/")),
        *_share("modules", kernel.modules),
    ]


def _share(tag: str, folder: Path) -> Sequence[str]:
    """A folder of the host that the machine may read. It may have other file systems in it, hence new inode numbers."""
    return [
        *("-fsdev", f"local,id={tag},path={folder},security_model=none,readonly=on,multidevs=remap"),
        *("-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"),
    ]

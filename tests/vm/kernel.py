"""Debian's kernel: fetched once from the machine's own mirror and unpacked in ``build/``, never installed."""

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

CACHE = Path(__file__).parents[2] / "build" / "vm"


class Kernel(NamedTuple):
    """An unpacked kernel package."""

    release: str
    folder: Path

    @property
    def image(self) -> Path:
        return self.folder / "boot" / f"vmlinuz-{self.release}"

    @property
    def modules(self) -> Path:
        return self.folder / "lib" / "modules" / self.release

    def files(self, names: Iterable[str]) -> list[Path]:
        """The files of these modules and of what they need, in the order in which they load."""
        needs: dict[str, list[str]] = {}
        for line in (self.modules / "modules.dep").read_text().splitlines():
            path, _, others = line.partition(":")
            needs[Path(path).name.partition(".")[0]] = [*reversed(others.split()), path]
        return list(dict.fromkeys(self.modules / path for name in names for path in needs[name]))


def headers() -> Path | None:
    """What modules for Debian's kernel are built against, where it is installed: the newest."""
    found = [path.parent for path in Path("/lib/modules").glob("*-amd64/build/Makefile")]
    whole = [
        path for path in found if not {"cloud", "rt"} & {*path.parent.name.split("-")}
    ]  # without RDMA, or not what nodes run
    return max(whole, key=lambda path: path.stat().st_mtime, default=None)


@functools.cache
def debian() -> Kernel:
    """The kernel of the installed headers. Raises ``CalledProcessError`` where it cannot be had, ``FileNotFoundError`` without headers."""
    built_for = headers()
    if built_for is None:
        raise FileNotFoundError("linux-headers-amd64 is not installed")
    release = built_for.parent.name
    kernel = Kernel(release, CACHE / release)
    if not kernel.folder.exists():
        _unpack(kernel)
    return kernel


def _unpack(kernel: Kernel) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="unpack-", dir=CACHE) as name:
        _run("apt-get", "-o", "APT::Sandbox::User=root", "download", f"linux-image-{kernel.release}", folder=name)
        (archive,) = Path(name).glob("*.deb")
        _run("dpkg", "-x", str(archive), "tree", folder=name)
        _run("depmod", "-b", "tree", kernel.release, folder=name)
        os.rename(Path(name) / "tree", kernel.folder)


def build_module(source: Path, folder: Path) -> Path:
    """Build the kernel module of this folder in another one, named as it is. Raises ``CalledProcessError``."""
    built_for = headers()
    assert built_for is not None
    shutil.copytree(source, folder, dirs_exist_ok=True)
    _run("make", "-C", str(built_for), f"M={folder}", "modules", folder=str(folder))
    return folder / f"{source.name}.ko"


def _run(*command: str, folder: str) -> None:
    subprocess.run(command, cwd=folder, check=True, stdin=subprocess.DEVNULL, capture_output=True)

"""A machine made of files, for plugins that look at the host through the roots they are given."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from supervisor.host import Host


class FakeHost:
    """Sysfs, device and proc directories below one folder. Needs no privilege: a device node is a plain file here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = Host(*(str(folder / name) for name in ("sys", "dev", "proc", "run/udev", "run/helper.sock")))
        # A sysfs without classes is none: nothing is mounted there.
        for root in (f"{self.host.sysfs}/class", self.host.dev, self.host.proc, self.host.run_udev):
            Path(root).mkdir(parents=True, exist_ok=True)
        self.write("/proc/sys/kernel/random/boot_id", "00000000-0000-4000-8000-000000000000\n")

    def path(self, name: str) -> Path:
        """Where the thing is that the host calls ``name``, such as ``/dev/widget0``. Raises ``ValueError`` outside the roots."""
        local = self.host.local(name)
        if local is None:
            raise ValueError(f"{name} is not below /sys, /dev, /proc or /run/udev")
        return Path(local)

    def write(self, name: str, text: str = "") -> Path:
        """Make or change a file, such as a device node or an attribute in sysfs."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def add_device(
        self, subsystem: str, name: str, attributes: Mapping[str, str] | None = None, *, node: str = "", parent: str = ""
    ) -> str:
        """Add a device of a class to sysfs, with its node if it has one; returns its directory in the host's words.

        ``node`` is below ``/dev``; ``parent`` is the directory of another device.
        """
        directory = f"{parent or '/sys/devices/virtual'}/{subsystem}/{name}"
        self.write(f"{directory}/uevent", f"DEVNAME={node}\n" if node else "")
        for attribute, value in (attributes or {}).items():
            self.write(f"{directory}/{attribute}", f"{value}\n")
        of_class = self.path(f"/sys/class/{subsystem}")
        of_class.mkdir(parents=True, exist_ok=True)
        _link(self.path(f"{directory}/subsystem"), of_class)
        _link(of_class / name, self.path(directory))
        if node:
            self.write(f"/dev/{node}")
        return directory

    def remove_device(self, directory: str) -> None:
        """Take away what ``add_device`` made, as when hardware is pulled out."""
        path = self.path(directory)
        for line in (path / "uevent").read_text().splitlines():
            self.path(f"/dev/{line.removeprefix('DEVNAME=')}").unlink(missing_ok=True)
        ((path / "subsystem").resolve() / path.name).unlink()
        shutil.rmtree(path)


def _link(link: Path, target: Path) -> None:
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.relpath(target, link.parent))

"""The driver's root: the host's own, or that of a container that brings the driver. Its links mean paths inside it.

The process that asks NVML imports this, too, so it imports little itself.
"""

import os
import platform
import stat
from collections.abc import Iterator
from itertools import islice

from msgspec import Struct

HOST_ROOTS = ("/", "/run/nvidia/driver")
"""Where drivers are installed: on the host itself, or by a container that brings the driver."""
MOUNT = "/driver-root"
"""Where a pod sees the host's root, by convention."""

_TRIPLET = f"{platform.machine()}-linux-gnu"
DIRECTORIES = (
    f"usr/lib/{_TRIPLET}",  # Debian, Ubuntu
    f"usr/lib/{_TRIPLET}/nvidia/current",  # Debian, without its alternatives
    "usr/lib64",  # Red Hat, Amazon, SUSE; the OpenShift driver container
    "usr/lib64/nvidia",
    f"lib/{_TRIPLET}",  # systems whose /lib is no link to /usr/lib
    "lib64",
    "usr/lib",
    "lib",
    "usr/local/nvidia/lib64",
    "home/kubernetes/bin/nvidia/lib64",  # Container-Optimized OS
    "opt/nvidia/lib64",  # systems whose /usr cannot be written: Flatcar and others
    "opt/nvidia/lib",
    "opt/nvidia/current/usr/lib64",
    "opt/nvidia/*/*/usr/lib64",  # Flatcar: one for each driver and kernel; only the running kernel's counts
    "opt/lib64",
    "opt/lib",
)
_MAX_LINKS = 40
MAX_ENTRIES = 50_000
"""Of one directory that is listed."""


class DriverRoot(Struct, frozen=True):
    """Two views of one directory. Paths *in* it start with ``/`` and say nothing of either."""

    host: str = "/"
    """What the host calls it: ``/`` or ``/run/nvidia/driver``."""
    mount: str = "/"
    """Where this process sees the host's own root."""

    @property
    def place(self) -> str:
        """Where this process sees it; without a slash at the end, so that a path in it can follow."""
        return self.mount.rstrip("/") + self.host.rstrip("/")

    def resolve(self, path: str) -> str | None:
        """The path in the root without links, none of which leads out of it; ``None`` where nothing is."""
        found = inside(self.place or "/", path)
        return None if found is None else found.removeprefix(self.place)

    def local(self, path: str) -> str:
        """Where this process sees a path in it that has no links."""
        return self.place + path

    def on_host(self, path: str) -> str:
        """What the host calls a path in it."""
        return self.host.rstrip("/") + path

    def file(self, path: str) -> str | None:
        """As ``resolve``, of regular files alone: a directory of that name is a mistake of somebody's, and no file."""
        return self._of_kind(path, stat.S_IFREG)

    def socket(self, path: str) -> str | None:
        return self._of_kind(path, stat.S_IFSOCK)

    def _of_kind(self, path: str, kind: int) -> str | None:
        found = self.resolve(path)
        try:
            return found if found is not None and stat.S_IFMT(os.lstat(self.local(found)).st_mode) == kind else None
        except OSError:
            return None

    def names(self, directory: str) -> Iterator[str]:
        """The names in a directory, sorted; none where there is no directory."""
        found = self.resolve(directory)
        try:
            with os.scandir(self.local(found) if found is not None else "") as entries:
                yield from sorted(entry.name for entry in islice(entries, MAX_ENTRIES))
        except OSError:
            return


def mount_of(configured: str | None) -> str:
    """Where this process sees the host's root: as configured, else by convention."""
    return configured or (MOUNT if _is_directory(MOUNT) else "/")


def inside(root: str, name: str) -> str | None:
    """The path of ``name`` without links, all of them followed as if ``root`` were ``/``; ``None`` where nothing is."""
    left = [part for part in name.split("/") if part]
    found: list[str] = []
    links = 0
    while left:
        part = left.pop(0)
        if part == "..":
            found = found[:-1]
            continue
        path = "/".join([root.rstrip("/"), *found, part])
        try:
            is_link = stat.S_ISLNK(os.lstat(path).st_mode)
            target = os.readlink(path) if is_link else ""
        except OSError:
            return None
        if not is_link:
            found = [*found, part] if part != "." else found
            continue
        links += 1
        if links > _MAX_LINKS:
            return None
        left = [*(each for each in target.split("/") if each), *left]
        found = [] if target.startswith("/") else found
    return "/".join([root.rstrip("/"), *found])


def _is_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except OSError:
        return False

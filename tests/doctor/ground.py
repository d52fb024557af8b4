"""Ground for checks: a node made of files, with a kubelet's directory, and ways to say what a check found."""

import os
import socket
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from supervisor.config import KubeletConfig
from supervisor.doctor.site import Check, Site
from supervisor.model import Finding
from supervisor.testing import FakeHost

STATUS = "Name:\tpython3\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nCapEff:\t{caps}\nSeccomp:\t{seccomp}\n"
LIMITS = (
    "Limit                     Soft Limit           Hard Limit           Units     \n"
    "Max open files            {files:<20} {files:<20} files     \n"
    "Max locked memory         {locked:<20} {locked:<20} bytes     \n"
)


class Ground:
    """One node. ``short`` is a folder whose sockets have short paths."""

    def __init__(self, folder: Path, short: Path) -> None:
        self.fake = FakeHost(folder / "host")
        self.directory = short / "dp"
        self.directory.mkdir()
        self.pod_resources = short / "pr.sock"
        self.cdi = folder / "etc-cdi", folder / "run-cdi"
        for each in self.cdi:
            each.mkdir()
        self.cgroup = self.fake.path("/sys/fs/cgroup")
        """Where this process has its control groups."""
        self.process("self", "python3")
        self.write("/proc/self/status", STATUS.format(uid=0, caps="0000000000000000", seccomp=2))

    @property
    def site(self) -> Site:
        """What the checks get."""
        kubelet = KubeletConfig(str(self.directory), str(self.pod_resources))
        return Site(kubelet, self.fake.host, tuple(map(str, self.cdi)), str(self.cgroup))

    def write(self, name: str, text: str) -> None:
        """A file of the host."""
        self.fake.write(name, text)

    def process(self, number: str, name: str, *, files: object = 4096, locked: object = "unlimited") -> None:
        """A process with these soft limits."""
        self.write(f"/proc/{number}/comm", f"{name}\n")
        self.write(f"/proc/{number}/limits", LIMITS.format(files=files, locked=locked))

    def link(self, name: str, target: str) -> None:
        """A link of the host, to whatever text."""
        path = self.fake.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)

    def check(self, check: Check) -> list[Finding]:
        """What it finds; each warning and failure has a cure, and every text is a sentence that people can read."""
        found = list(check(self.site))
        assert_shown(found)
        return found

    def one(self, check: Check) -> Finding:
        """The only thing that it finds."""
        (finding,) = self.check(check)
        return finding

    def levels(self, check: Check) -> dict[str, str]:
        """The level of each subject; of several findings on one subject, the last one's."""
        return {finding.subject: finding.level for finding in self.check(check)}


def assert_shown(found: Iterable[Finding]) -> None:
    """What must hold of every finding."""
    for finding in found:
        assert finding.subject
        assert finding.text
        assert len(finding.text) <= 1000
        assert finding.cure or finding.level in {"ok", "note"}, finding


def listen(path: Path) -> "closing[socket.socket]":
    """A socket that accepts connections until it is closed; its file stays."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(path))
    server.listen()
    return closing(server)


def dead_socket(path: Path) -> None:
    """A socket at which nobody listens."""
    with listen(path):
        pass


def tree(*folders: Path) -> dict[str, tuple[object, ...]]:
    """Everything below the folders: kind, size, change time, and the content of files."""
    found: dict[str, tuple[object, ...]] = {}
    for folder in folders:
        for place, directories, files in os.walk(folder):
            for name in (*directories, *files, "."):
                path = Path(place, name)
                status = path.lstat()
                content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
                found[str(path)] = (status.st_mode, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, content)
    return found

"""A real container runtime, podman with crun, that knows only the specs and the image of one test.

It runs in namespaces of its own, where ``/run`` is empty but for the test's CDI directory: podman 4 looks for specs in
``/etc/cdi`` and ``/var/run/cdi`` and cannot be told otherwise.
"""

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

_RUN = """
set -e
mount -t tmpfs none /run
mkdir -p /run/cdi
mount --bind "$SPECS" /run/cdi
# crun refuses to start where both versions of cgroups are mounted.
[ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ] || mount -t cgroup2 none /sys/fs/cgroup
exec podman "$@"
"""
_APART = ("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc")
"""With podman ends whatever it has started: its monitor would tidy up the storage a while longer."""
_LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
"""Below those of any machine: raising them takes a right that test machines may not have."""


class Podman:
    """Its storage, and an image with a shell in it."""

    image = "localhost/shell:1"

    def __init__(self, folder: Path, specs: Path) -> None:
        self._specs = specs
        self._options = (
            *("--root", str(folder / "root"), "--runroot", str(folder / "run"), "--storage-driver", "vfs"),
            *("--cgroup-manager", "cgroupfs", "--events-backend", "none", "--runtime", shutil.which("crun") or "crun"),
        )
        self.tree = folder / "tree"
        (self.tree / "usr/bin").mkdir(parents=True)
        for name in ("bin", "lib", "lib64"):  # as in the images of all large distributions
            (self.tree / name).symlink_to(f"usr/{name}")
            (self.tree / "usr" / name).mkdir(exist_ok=True)
        busybox = shutil.which("busybox")
        assert busybox is not None
        shutil.copy(busybox, self.tree / "usr/bin/busybox")
        (self.tree / "usr/bin/sh").symlink_to("busybox")

    def add_program(self, path: str) -> None:
        """Put a program of this machine into the image, with its loader and libraries but without any ``ld.so.cache``."""
        listed = subprocess.run(["ldd", path], check=True, capture_output=True, text=True).stdout
        for file in {path, *(word for word in listed.split() if word.startswith("/"))}:
            target = self.tree / file.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)

    def import_image(self) -> None:
        """Make the image of the tree as it is now."""
        archive = self.tree.with_suffix(".tar")
        with tarfile.open(archive, "w") as tar:
            tar.add(self.tree, arcname=".")
        self._run("import", "--quiet", str(archive), self.image).check_returncode()

    def run(self, command: str, *devices: str, env: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Run a shell command in a new container with CDI devices."""
        wanted = [word for device in devices for word in ("--device", device)]
        wanted += [word for each in env for word in ("--env", each)]
        isolated = ("--network=none", "--pull=never", "--cgroups=disabled", "--security-opt", "seccomp=unconfined")
        return self._run("run", "--rm", *isolated, *_LIMITS, *wanted, self.image, "busybox", "sh", "-c", command)

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*_APART, "sh", "-c", _RUN, "podman", *self._options, *arguments],
            env=os.environ | {"SPECS": str(self._specs), "TMPDIR": str(self.tree.parent)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

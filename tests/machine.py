"""What tests ask of the machine they run on, how that is found out, and what to install where it is missing.

A test names its needs with `@pytest.mark.requires("strace", ...)`, a fixture with `need("strace")`. Run as a program
(`python -m tests.machine`), this prints the Debian packages that are missing here.
"""

import ctypes.util
import functools
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.cluster import reachable


class Tool(NamedTuple):
    """One thing a test may need: how to see whether it is there, its Debian packages, and what else to tell people."""

    found: Callable[[], bool]
    packages: tuple[str, ...] = ()
    hint: str = ""
    hardware: bool = False
    """Nothing can be installed in its place, so its tests are left out even where no skip is allowed."""

    @property
    def remedy(self) -> str:
        """How to get it, in words for a person."""
        install = f"apt-get install {' '.join(self.packages)}" if self.packages else ""
        return "; ".join(filter(None, (install, self.hint)))


def _runs(*command: str) -> Callable[[], bool]:
    def check() -> bool:
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return False
        return done.returncode == 0

    return check


def _exists(*paths: str) -> Callable[[], bool]:
    return lambda: any(Path(path).exists() for path in paths)


def _module(name: str) -> Callable[[], bool]:
    return lambda: importlib.util.find_spec(name) is not None


@functools.cache
def c_compiler() -> tuple[str, ...]:
    """The command that compiles C: the machine's, else the one that PyPI has as ``ziglang``; empty where there is none."""
    if shutil.which("cc"):
        return ("cc",)
    return (sys.executable, "-m", "ziglang", "cc") if importlib.util.find_spec("ziglang") else ()


TOOLS = {
    "root": Tool(lambda: os.geteuid() == 0, hint="run the tests as root"),
    "namespaces": Tool(
        _runs("unshare", "-n", "-m", "nsenter", "--version"),
        ("util-linux", "mount"),
        "needs CAP_SYS_ADMIN (in a container: --privileged)",
    ),
    "user-namespaces": Tool(
        _runs("unshare", "-U", "-r", "-n", "-m", "true"),
        ("util-linux", "mount"),
        "needs user namespaces (sysctl user.max_user_namespaces)",
    ),
    "ip": Tool(_runs("ip", "-V"), ("iproute2",)),
    "strace": Tool(_runs("strace", "-qq", "-o", "/dev/null", "true"), ("strace",), "needs leave to trace (CAP_SYS_PTRACE)"),
    "cc": Tool(lambda: bool(c_compiler()), ("gcc", "libc6-dev"), "or pip install ziglang"),
    "libudev": Tool(lambda: ctypes.util.find_library("udev") is not None, ("libudev1",)),
    "fuse": Tool(_exists("/dev/fuse"), hint="needs /dev/fuse (modprobe fuse)"),
    "loop": Tool(
        lambda: os.access("/dev/loop-control", os.R_OK | os.W_OK), hint="needs leave to make loop devices (root, modprobe loop)"
    ),
    "podman": Tool(
        _runs("sh", "-c", "podman --version && crun --version && busybox true"),
        ("podman", "crun", "busybox-static"),
        "needs root",
    ),
    "crun": Tool(_runs("crun", "--version"), ("crun",), "needs root"),
    "patience": Tool(
        lambda: bool(os.environ.get("NO_SKIPS") or os.environ.get("MINUTES")),
        hint="takes long beside all others: make test-full runs it",
    ),
    "qemu": Tool(
        _runs(
            "sh",
            "-c",
            "qemu-system-x86_64 --version && busybox true && udevadm --version && modprobe --version && rdma -V && make --version"
            " && cc --version && ls -d /lib/modules/*-amd64/build",
        ),
        ("qemu-system-x86", "busybox-static", "udev", "kmod", "iproute2", "make", "gcc", "linux-headers-amd64"),
        "needs Debian's mirror the first time, for its kernel",
    ),
    "buildah": Tool(
        _runs("sh", "-c", "buildah --version && debootstrap --version"),
        ("buildah", "debootstrap"),
        "needs root, and Debian's mirror the first time",
    ),
    "index": Tool(
        _runs(sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "--quiet", "editables"),
        hint="needs an index of Python packages",
    ),
    "prometheus": Tool(_runs("sh", "-c", "prometheus --version && promtool --version"), ("prometheus",)),
    "chromium": Tool(
        _runs("sh", "-c", "chromium --version && chromedriver --version"), ("chromium", "chromium-driver", "fonts-dejavu-core")
    ),
    "kubectl": Tool(_runs("kubectl", "version", "--client"), ("kubernetes-client",)),
    "kustomize": Tool(
        _exists(str(Path(sys.executable).with_name("kubectl"))), hint="make test-full installs it (requirements/deploy.txt)"
    ),
    "helm": Tool(_module("helm_python"), hint="make test-full installs it (requirements/deploy.txt)"),
    "kubernetes_validate": Tool(_module("kubernetes_validate"), hint="make test-full installs it (requirements/deploy.txt)"),
    "shellcheck": Tool(
        Path(sys.executable).with_name("shellcheck").exists, hint="make test-full installs it (requirements/deploy.txt)"
    ),
    "hadolint": Tool(
        _exists(str(Path(sys.executable).with_name("hadolint"))), hint="make test-full installs it (requirements/deploy.txt)"
    ),
    "yamllint": Tool(_module("yamllint"), hint="make test-full installs it (requirements/deploy.txt)"),
    "openssl": Tool(_runs("openssl", "version"), ("openssl",)),
    "cluster": Tool(
        reachable, hint="point KUBECONFIG at a cluster that may be used up, such as one of kind: make e2e", hardware=True
    ),
    "nvidia": Tool(_runs("nvidia-smi", "-L"), hint="needs an NVIDIA GPU and its driver", hardware=True),
    "tun": Tool(_exists("/dev/net/tun"), hint="needs /dev/net/tun (modprobe tun)"),
}


@functools.cache
def found(name: str) -> bool:
    """Whether this machine has the tool; looked up once in a process. Raises KeyError for an unknown name."""
    return TOOLS[name].found()


def need(*names: str) -> None:
    """Skip the running test unless this machine has all of the named tools."""
    for name in names:
        if not found(name):
            pytest.skip(f"needs {name}: {TOOLS[name].remedy}")


def missing_packages() -> list[str]:
    """The Debian packages to install so that no test is skipped for want of a program."""
    return sorted({package for name, tool in TOOLS.items() if not found(name) for package in tool.packages})


if __name__ == "__main__":
    print(*missing_packages())

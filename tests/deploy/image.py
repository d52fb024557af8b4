"""The image of ``deploy/Containerfile``, built on a Debian made by debootstrap, and containers of it, without any registry.

Everything lies in one folder. podman and buildah run in mount namespaces of their own, so that no mount outlives a test.
"""

import fcntl
import functools
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

ROOT = Path(__file__).parents[2]
CACHE = ROOT / "build/image"
"""Where the Debian is kept for the next time, since it takes a minute."""
SUITE, PYTHON = "bookworm", "3.11"
BASE, IMAGE = "localhost/debian:test", "localhost/device-plugin-supervisor:test"
EPOCH = 1_700_000_000
"""The time that the files of the image bear, in seconds since 1970."""
CONTEXT = [
    "LICENSE",
    "README.md",
    "deploy/Containerfile",
    "deploy/image",
    "plugins",
    "pyproject.toml",
    "requirements",
    "supervisor",
]
START_SECONDS = 30.0

_RUN = """
set -e
# crun refuses to start where both versions of cgroups are mounted.
[ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ] || mount -t cgroup2 none /sys/fs/cgroup
exec "$@"
"""
_APART = ("unshare", "--mount", "--propagation", "private")
_ALONE = (*_APART, "--pid", "--fork", "--kill-child", "--mount-proc")
"""With podman ends whatever it has started."""
_LIMITS = ("--cgroups=disabled", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
"""Below those of any machine: raising them takes a right that test machines may not have."""

Tags = Mapping[str, str]


def debian() -> Path:
    """An archive of the smallest Debian with Python, as debootstrap makes it from the package mirror; made once in a checkout."""
    archive = CACHE / f"{SUITE}-{platform.machine()}.tar"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test processes run side by side
        if not archive.exists():
            _bootstrap(CACHE / "tree", archive.with_suffix(".new")).rename(archive)
    return archive


def _bootstrap(tree: Path, archive: Path) -> Path:
    shutil.rmtree(tree, ignore_errors=True)
    _do("debootstrap", "--variant=minbase", "--include=python3,ca-certificates", SUITE, str(tree), timeout=600)
    without = [f"--exclude=./{path}" for path in ("dev/*", "proc/*", "sys/*", "var/cache/apt/*", "var/lib/apt/lists/*")]
    _do("tar", "-C", str(tree), "--one-file-system", *without, "-cf", str(archive), ".")
    shutil.rmtree(tree)
    return archive


def _do(*command: str, timeout: float = 300, env: Mapping[str, str] = os.environ) -> str:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, env=env, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def download(folder: Path, *locks: str, python: str = PYTHON, machine: str = platform.machine()) -> list[str]:
    """Fetch the locked wheels for one Python and machine, nothing but wheels, and return their names."""
    abis = ("--implementation", "cp", "--abi", f"cp{python.replace('.', '')}", "--abi", "abi3", "--abi", "none")
    kinds = [f"--platform={kind}_{machine}" for kind in ("manylinux2014", "manylinux_2_17", "manylinux_2_28")]
    target = ("--dest", str(folder), "--python-version", python, *abis, *kinds)
    for lock in locks:
        options = ("--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes", *target)
        _do(sys.executable, "-m", "pip", "download", *options, "--requirement", str(ROOT / lock))
    return sorted(path.name for path in folder.iterdir())


def copy_context(folder: Path) -> Path:
    """What a build sees, with a wheelhouse, so that it needs no network."""
    for name in CONTEXT:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    wheelhouse = folder / "build/wheelhouse"
    wheelhouse.mkdir(parents=True)
    download(wheelhouse, "deploy/image/pip.txt", "requirements/build.txt", "requirements/run.txt")
    return folder


class Store:
    """Images in a folder, and the programs that make them and run them."""

    def __init__(self, folder: Path) -> None:
        """``folder`` is on a file system that can be below an overlay."""
        self.folder = folder
        self.context = folder / "context"
        self._storage = ("--root", str(folder / "root"), "--runroot", str(folder / "run"), "--storage-driver", "overlay")
        self._runtime = (
            "--cgroup-manager",
            "cgroupfs",
            "--events-backend",
            "none",
            "--runtime",
            shutil.which("crun") or "crun",
        )

    def prepare(self) -> None:
        """Make the base and the image."""
        self.podman("import", "--quiet", str(debian()), BASE)
        copy_context(self.context)
        self.build(IMAGE, {"REVISION": "0123abc"})

    def build(self, tag: str, arguments: Tags | None = None, *options: str, context: Path | None = None) -> None:
        """Build an image, of this checkout unless another context is named, without a network."""
        given = {"BASE": BASE, "SOURCE_DATE_EPOCH": str(EPOCH)} if context is None else {}
        words = [f"--build-arg={name}={value}" for name, value in {**given, **(arguments or {})}.items()]
        file = (context or self.context) / ("Containerfile" if context else "deploy/Containerfile")
        how = ("--isolation", "chroot", "--pull=never", "--no-cache", "--timestamp", str(EPOCH))
        where = ("--tag", tag, "--file", str(file), str(context or self.context))
        self._tool((*_APART, "--net"), "buildah", *self._storage, "bud", *how, *words, *options, *where)

    @functools.cached_property
    def seccomp(self) -> bool:
        """Whether containers can have the runtime's own filter of system calls here."""
        return "Seccomp:\t2" in self.run("--entrypoint", "cat", BASE, "/proc/self/status")

    def podman(self, *arguments: str) -> str:
        """The answer of one of podman's commands. Raises ``AssertionError`` with what it said where it fails."""
        return self._tool(_ALONE, "podman", *self._storage, *self._runtime, *arguments)

    def inspect(self, tag: str) -> dict[str, Any]:
        """All that podman knows of an image."""
        return dict(json.loads(self.podman("image", "inspect", tag))[0])

    def run(self, *arguments: str) -> str:
        """What a container printed that is gone again: options, image, command."""
        return self.podman(*self._in_container(*arguments))

    def command(self, *arguments: str) -> list[str]:
        """What runs a container, to be started by others: options, image, command."""
        program = ("podman", *self._storage, *self._runtime, *self._in_container(*arguments))
        return [*_ALONE, "sh", "-c", _RUN, "sh", *program]

    def _in_container(self, *arguments: str) -> tuple[str, ...]:
        return ("run", "--rm", "--pull=never", "--network=none", *_LIMITS, *arguments)

    def _tool(self, apart: Sequence[str], *command: str) -> str:
        return _do(*apart, "sh", "-c", _RUN, "sh", *command, env=os.environ | {"TMPDIR": str(self.folder)})


class Container:
    """The supervisor in a container. A context manager: it must end by SIGTERM with status 0, unless the test fails."""

    def __init__(self, store: Store, log: Path, *arguments: str) -> None:
        """``arguments``: options, image, command."""
        self.started_ns = 0
        """When podman was called, on CLOCK_MONOTONIC."""
        self._command = store.command(*arguments)
        self._env = os.environ | {"TMPDIR": str(store.folder)}
        self._path = log
        self._log: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.pid = 0
        """Of the container's first process, as seen from here."""

    def __enter__(self) -> Self:
        self._log = self._path.open("wb")
        self.started_ns = time.monotonic_ns()
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, env=self._env
        )
        self.pid = self._first_process()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        code = self.stop()
        sys.stderr.write(self.log)
        if error is None:
            assert code == 0, f"the container ended with {code}:\n{self.log}"

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self._path.read_text(errors="replace")

    def stop(self) -> int:
        """End it as the kubelet does, and return its exit code."""
        assert self._process is not None
        assert self._log is not None
        try:
            if self._process.poll() is None:
                os.kill(self.pid, signal.SIGTERM)
            return self._process.wait(START_SECONDS)
        finally:
            self._process.kill()
            self._process.wait()
            self._log.close()

    def get(self, path: str) -> str:
        """A page of its HTTP server, fetched within its network, as probes are. Raises ``AssertionError`` unless it is 200."""
        fetch = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=10).read().decode())"
        within = ("nsenter", "--target", str(self.pid), "--net")
        return _do(*within, sys.executable, "-c", fetch, f"http://127.0.0.1:9410{path}")

    def _first_process(self) -> int:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            for pid in descendants(self._process.pid):
                if _is_first(pid):
                    return pid
            time.sleep(0.005)
        self._process.kill()
        self._process.wait()
        raise AssertionError(f"no container within {START_SECONDS} s:\n{self.log}")


def descendants(pid: int) -> Iterator[int]:
    """The processes that a process has started, and those that they have."""
    for file in Path(f"/proc/{pid}/task").glob("*/children"):  # any thread may have started it
        with suppress(FileNotFoundError, ProcessLookupError):  # ended meanwhile
            for child in map(int, file.read_text().split()):
                yield child
                yield from descendants(child)


def _is_first(pid: int) -> bool:
    """Whether a process is the first one of a namespace within podman's own."""
    with suppress(FileNotFoundError, ProcessLookupError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        numbers = next(line.split()[1:] for line in lines if line.startswith("NSpid:"))
        return (len(numbers), numbers[-1]) == (3, "1")
    return False


def built(folder: Path) -> Store:
    """A store with the image in it, in an empty folder, whose owner removes it."""
    store = Store(folder)
    store.prepare()
    return store

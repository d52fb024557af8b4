"""Which files a program touches, by strace."""

import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

# `1234 openat(AT_FDCWD</work>, "name", ...`: the directory is there for calls that take one, a number or a word before it.
_CALL = re.compile(r'\d+ +(?P<call>\w+)\((?:[\w-]+<(?P<directory>[^>]*)>, )?"(?P<path>(?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Trace:
    """What a traced program did: its exit status, output, and the paths it named in system calls, found there or not."""

    status: int
    output: str
    errors: str
    paths: frozenset[str]

    def below(self, directory: str | Path) -> set[str]:
        """The touched paths that are the directory or lie in it."""
        return {path for path in self.paths if PurePath(path).is_relative_to(directory)}


def trace(*command: str, cwd: Path | None = None, timeout: float = 60, **env: str) -> Trace:
    """Run a program with all its children to its end and see which paths they name in system calls.

    Raises subprocess.TimeoutExpired. Links are not followed: a path reads as the program wrote it.
    """
    with tempfile.NamedTemporaryFile("r", prefix="strace.") as log:
        options = ["-f", "-qq", "-y", "-s", "4096", "-e", "trace=%file", "-e", "signal=none", "-o", log.name]
        done = subprocess.run(
            ["strace", *options, *command],
            cwd=cwd,
            env=os.environ | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        paths = touched(log.read(), cwd or Path.cwd())
    return Trace(done.returncode, done.stdout, done.stderr, paths)


def touched(log: str, cwd: Path) -> frozenset[str]:
    """The absolute paths in a log of strace; `cwd` is where relative ones start in calls that take no directory."""
    return frozenset(
        os.path.normpath(Path(match["directory"] or cwd, match["path"]))
        for line in log.splitlines()
        if (match := _CALL.match(line))
    )


def environment(pythonpath: Path) -> Mapping[str, str]:
    """What lets a traced Python import from a directory."""
    return {"PYTHONPATH": str(pythonpath), "PYTHONDONTWRITEBYTECODE": "1"}

"""A directory of the node in which a plugin writes files for others: container runtimes, CNI plugins.

They may read at any moment, so a file appears by a rename, whole, under its final name, from a name that they pass over. What
others have put there is read with a bound, and never touched.
"""

import contextlib
import os
import re
import secrets
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from msgspec import Struct

MAX_BYTES = 4 << 20
"""Of one file."""
MAX_FILES = 20_000

_UNFINISHED = re.compile(r"\.(.+)\.[0-9a-f]{8}\.tmp")


class NodeFolder(Struct, frozen=True):
    """The directory. Nothing is kept between calls: one emptied by a reboot, or by hand, is what it is."""

    path: str

    @property
    def problem(self) -> str:
        """Why no file can be put there, to be read after the name of the directory; empty if one can."""
        if not Path(self.path).is_dir():
            return "is not there"
        return "" if os.access(self.path, os.W_OK | os.X_OK) else "cannot be written"

    def names(self) -> list[str]:
        """What is in it, sorted. Raises ``OSError``."""
        with os.scandir(self.path) as entries:
            return sorted(entry.name for entry in islice(entries, MAX_FILES))

    def read(self, name: str) -> bytes | None:
        """A file of sensible size; ``None`` for anything else."""
        try:
            descriptor = os.open(self.at(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                data = file.read(MAX_BYTES + 1)
        except OSError:
            return None
        finally:
            os.close(descriptor)
        return data if len(data) <= MAX_BYTES else None

    def write(self, name: str, data: bytes, mode: int = 0o644) -> bool:
        """Whether there was something to write: a file that says it already is left as it is. Raises ``OSError``."""
        if self.read(name) == data:
            return False
        temporary = self.at(f".{name}.{secrets.token_hex(4)}.tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, mode)  # readers may be other users; the umask has no say
                file.write(data)
            os.rename(temporary, self.at(name))
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        return True

    def at(self, name: str) -> str:
        """The path of a file."""
        return str(Path(self.path, name))

    def sweep(self, ours: Callable[[str], bool]) -> None:
        """Remove what a killed process left half-written under names that are ours. Raises ``OSError``."""
        for name in self.names():
            if ours(self.unfinished(name)):
                os.unlink(self.at(name))

    @staticmethod
    def unfinished(name: str) -> str:
        """The name under which this file was to appear, if it is one that was being written; empty for any other."""
        match = _UNFINISHED.fullmatch(name)
        return match[1] if match else ""

"""Attributes for which a driver may ask the hardware: plain reads, which may hang and never raise, and the texts that they may have."""

import os
import posixpath
import re

from supervisor import Host, natural_order

MAX_BYTES = 4096
"""sysfs gives one page."""
MAX_NAMES = 4096
"""Of one directory."""
LONGEST_WORD = 63
"""Characters of what goes into names."""

_FLAGS = os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC
_ID = re.compile(r"[0-9a-f]{32}")
_ZEROS = "0" * 32
_SERIAL = re.compile(r"[A-Za-z0-9][-_.A-Za-z0-9]{3,62}")
_NUMBER = re.compile(r"-?[0-9]{1,18}|0x[0-9a-f]{1,16}")


class Attributes:
    """Those of the host, by the host's names. Nothing is remembered; any thread may ask."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def text(self, path: str) -> str | None:
        """What a file says, in printable characters; ``None`` where it is absent or cannot be read."""
        found = self._raw(path)
        return None if found is None else _printable(found)

    def _raw(self, path: str) -> str | None:
        if (local := self.host.local(path)) is None:
            return None
        try:
            descriptor = os.open(local, _FLAGS)
        except OSError:
            return None
        try:
            return os.read(descriptor, MAX_BYTES).decode(errors="replace").strip()
        except OSError:  # EBUSY while a port is disabled, ENODEV when it has fallen off
            return None
        finally:
            os.close(descriptor)

    def lines(self, path: str) -> tuple[str, ...]:
        """The lines of a file that are not empty."""
        return tuple(_printable(line) for line in (self._raw(path) or "").splitlines() if line.strip())

    def number(self, path: str) -> int | None:
        """In digits, or hexadecimal with ``0x``; ``None`` for anything else, too."""
        return number(self.text(path) or "")

    def names(self, directory: str) -> tuple[str, ...]:
        """The names in a directory, in natural order; none where it is absent."""
        local = self.host.local(directory)
        try:
            return () if local is None else tuple(sorted(os.listdir(local)[:MAX_NAMES], key=natural_order))
        except OSError:
            return ()

    def link(self, path: str) -> str:
        """Where a link of sysfs leads, by the host's names; empty where there is none."""
        local = self.host.local(path)
        try:
            return "" if local is None else posixpath.normpath(posixpath.join(posixpath.dirname(path), os.readlink(local)))
        except OSError:
            return ""


def _printable(text: str) -> str:
    return text if text.isprintable() else ascii(text)


def number(text: str) -> int | None:
    """In digits, or hexadecimal with ``0x``, of 64 bits at most."""
    if _NUMBER.fullmatch(text.lower()) is None:
        return None
    return int(text, 16 if text.lower().startswith("0x") else 10)


def identity(text: str) -> str:
    """An id of 128 bits in 32 lower-case digits, as drivers and people write it; empty for what is none."""
    plain = text.replace("-", "").lower()
    return plain if _ID.fullmatch(plain) else ""


def programmed(text: str) -> str:
    """As ``identity``, of what a function holds: zeros stand for nothing."""
    found = identity(text)
    return "" if found == _ZEROS else found


def serial(text: str) -> str:
    """A serial number; empty for what cannot be one, which would make one group of cards that do not belong together."""
    return text if _SERIAL.fullmatch(text) and len({*text}) > 1 else ""

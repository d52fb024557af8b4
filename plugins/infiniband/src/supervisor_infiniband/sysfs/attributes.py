"""Attributes as files: plain reads, which may hang where the kernel asks the device's firmware, and the texts that they may have."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from supervisor import natural_order
from supervisor_infiniband.report import PhysState, PortState

Value = TypeVar("Value")

MAX_BYTES = 4096
"""sysfs gives one page."""
MAX_NAMES = 4096
"""Of one directory."""

_FLAGS = os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC
_GUID = re.compile(r"[0-9a-f]{4}(:[0-9a-f]{4}){3}")
_GID = re.compile(r"[0-9a-f]{4}(:[0-9a-f]{4}){7}")
_ENUM = re.compile(r"([0-9]{1,3})(: .*)?")
_RATE = re.compile(r"([0-9]{1,6}(\.[0-9]{1,3})?) Gb/sec\b.*")
_SPEED = re.compile(r"([0-9]{1,4}(\.[0-9])?) GT/s\b.*")
_NUMBER = re.compile(r"-?[0-9]{1,18}|0x[0-9a-fA-F]{1,15}")


class Nonsense(Exception):
    """What an attribute says cannot be so, or a needed one cannot be read; the text is a sentence."""


def raw(path: str, directory: int | None = None) -> bytes | None:
    """What a file has; ``None`` where it is absent or cannot be read. May hang. ``directory``: a descriptor that ``path`` begins at."""
    try:
        descriptor = os.open(path, _FLAGS, dir_fd=directory)
    except OSError:
        return None
    try:
        return os.read(descriptor, MAX_BYTES)
    except OSError:  # EINVAL: an empty slot, an interface that is down
        return None
    finally:
        os.close(descriptor)


def raws(directory: str, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Of many files of one directory those that can be read; its path, which is long, is walked once. May hang."""
    try:
        descriptor = os.open(directory, _FLAGS | os.O_DIRECTORY)
    except OSError:
        return
    try:
        for name in names:
            if (found := raw(name, descriptor)) is not None:
                yield name, found
    finally:
        os.close(descriptor)


def names(directory: str) -> list[str]:
    """The names in a directory, in natural order; none where it is absent or cannot be listed."""
    try:
        with os.scandir(directory) as found:
            return sorted((entry.name for entry in islice(found, MAX_NAMES)), key=natural_order)
    except OSError:
        return []


class Attributes:
    """Those of one directory."""

    def __init__(self, directory: str, shown: str = "") -> None:
        """``shown``: how the directory is called in sentences, with a slash at its end."""
        self.directory = directory
        self._shown = shown

    def below(self, name: str) -> "Attributes":
        return Attributes(f"{self.directory}/{name}", f"{self._shown}{name}/")

    def text(self, name: str) -> str:
        """One line; empty where it is absent or cannot be read. Raises ``Nonsense`` when it is no printable text."""
        return self.value(name, printable) or ""

    def value(self, name: str, parse: Callable[[str], Value]) -> Value | None:
        """The value; ``None`` where it is absent or cannot be read. Raises ``Nonsense`` when ``parse`` raises ``ValueError``."""
        found = raw(f"{self.directory}/{name}")
        return None if found is None else self.parsed(name, found, parse)

    def parsed(self, name: str, found: bytes, parse: Callable[[str], Value]) -> Value:
        """The value of what was read before. Raises ``Nonsense``."""
        text = found.decode(errors="replace").rstrip("\n")
        try:
            return parse(text)
        except ValueError as error:
            short = text if len(text) <= 40 else f"{text[:40]}…"
            raise Nonsense(f"{self._shown}{name} says {short!a}, which is {error}") from error

    def unreadable(self, name: str) -> Nonsense:
        """Why a needed attribute could not be read, by trying it once more. May hang."""
        try:
            with open(f"{self.directory}/{name}", "rb", buffering=0) as file:  # noqa: PTH123 - pathlib costs memory
                file.read(MAX_BYTES)
        except OSError as error:
            return Nonsense(f"{self._shown}{name} cannot be read: {(error.strerror or str(error)).lower()}")
        return Nonsense(f"{self._shown}{name} could not be read for a moment")


def printable(text: str) -> str:
    """Raises ``ValueError``, as all functions below."""
    if text.isprintable():
        return text.strip()
    raise ValueError("no printable text")


def guid(text: str) -> str:
    return _whole(_GUID, text.lower(), "no GUID")[0]


def gid(text: str) -> str:
    return _whole(_GID, text.lower(), "no GID")[0]


def port_state(text: str) -> PortState:
    """What the kernel does not name is ``NOP``."""
    said = int(_whole(_ENUM, text, "no port state")[1])
    return next((state for state in PortState if state == said), PortState.NOP)


def phys_state(text: str) -> PhysState:
    said = int(_whole(_ENUM, text, "no physical state")[1])
    return next((state for state in PhysState if state == said), PhysState.UNKNOWN)


def link_layer(text: str) -> str:
    if text in {"InfiniBand", "Ethernet", "Unknown"}:
        return text
    raise ValueError("no link layer")


def rate(text: str) -> float:
    """Gb/s, of ``200 Gb/sec (4X HDR)``."""
    return float(_whole(_RATE, text, "no rate")[1])


def link_speed(text: str) -> float | None:
    """GT/s, of ``16.0 GT/s PCIe``; ``None`` of ``Unknown``."""
    return None if text.startswith("Unknown") else float(_whole(_SPEED, text, "no link speed")[1])


def number(text: str) -> int:
    """In digits, or hexadecimal with ``0x``."""
    return int(_whole(_NUMBER, text, "no number")[0], 0 if text.startswith("0x") else 10)


def _whole(pattern: re.Pattern[str], text: str, problem: str) -> re.Match[str]:
    if match := pattern.fullmatch(text):
        return match
    raise ValueError(problem)

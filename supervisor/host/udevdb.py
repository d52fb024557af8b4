"""One record of the host's udev database: a file under ``/run/udev/data``, written by udevd after its rules have run."""

from collections.abc import Mapping

from msgspec import Struct


class UdevRecord(Struct, frozen=True):
    """What udev's rules said about a device."""

    properties: Mapping[str, str] = {}
    tags: frozenset[str] = frozenset()
    """The tags of the newest event; of any event, where udev is too old (before 247) to tell them apart."""
    symlinks: tuple[str, ...] = ()
    """Names of the host, ``/dev/...``."""
    initialized: bool = False
    """Whether the rules have run to their end at least once."""


def parse_record(text: str) -> UdevRecord:
    """Read a record. Lines it does not know are passed over, as udev itself does.

    Each line is a letter, a colon and a value: ``E`` property, ``G`` tag, ``Q`` current tag, ``S`` symlink below ``/dev``,
    ``I`` microseconds of initialisation, ``V`` version of the format (``device_read_db_internal`` in systemd's sd-device).
    """
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        letter, colon, value = line.partition(":")
        if colon and value:
            values.setdefault(letter, []).append(value)
    properties = (line.partition("=") for line in values.get("E", []) if "=" in line)
    knows_current_tags = "V" in values or "Q" in values
    return UdevRecord(
        properties={key: value for key, _, value in properties},
        tags=frozenset(values.get("Q" if knows_current_tags else "G", [])),
        symlinks=tuple(f"/dev/{link}" for link in values.get("S", [])),
        initialized="I" in values,
    )

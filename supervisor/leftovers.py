"""What a plugin says it has left on the node, checked: a file that is wrongly named must cost nobody that file."""

from collections.abc import Collection, Iterable, Mapping
from itertools import islice

import msgspec

from supervisor.inventory import plain
from supervisor.model import Leftover

MOST_LEFTOVERS = 10_000
"""Of one plugin."""

_LEFTOVER = msgspec.msgpack.Decoder(Leftover)


def check_leftovers(found: object, held: Mapping[str, Collection[str]]) -> tuple[tuple[Leftover, ...], tuple[str, ...]]:
    """The good part of what ``leftovers`` returned for these held devices, and what is wrong with the rest, in sentences."""
    if isinstance(found, str | bytes | Mapping) or not isinstance(found, Iterable):
        return (), (f"leftovers() must return Leftover objects, not {type(found).__name__}",)
    ids = frozenset(device for devices in held.values() for device in devices)
    good: list[Leftover] = []
    problems: list[str] = []
    for number, each in enumerate(islice(found, MOST_LEFTOVERS + 1)):
        if number == MOST_LEFTOVERS:
            problems.append(f"it has left more than {MOST_LEFTOVERS} files")
            break
        try:
            good.append(_typed(each, ids))
        except ValueError as error:
            problems.append(f"leftover {number + 1} is none: {error}")
    return tuple(good), tuple(problems)


def _typed(found: object, held: frozenset[str]) -> Leftover:
    """Raises ``ValueError`` for what is no leftover, and where a device needs it that is not held."""
    if type(found) is not Leftover:
        raise ValueError(f"it is {type(found).__name__}, not Leftover")
    leftover = plain(found, _LEFTOVER)
    if strange := next((each for each in leftover.needed_by if each not in held), None):
        raise ValueError(f"needed_by: {strange} is not held")
    parts = leftover.path.split("/")
    if parts[0] or not parts[-1] or ".." in parts or "\0" in leftover.path:
        raise ValueError("path: it must be the absolute path of a file")
    return leftover

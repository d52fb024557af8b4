"""Pure functions on names: shell patterns without surprises, and the order in which people count."""

import fnmatch
import functools
import re

_WILDCARD = re.compile(r"[*?\[]")
_NUMBER = re.compile(r"([0-9]+)")


@functools.lru_cache(maxsize=4096)
def glob_pattern(pattern: str) -> re.Pattern[str]:
    """A shell pattern (``*``, ``?``, ``[a-z]``, ``[!a-z]``) for the whole of a text; upper and lower case differ."""
    return re.compile(fnmatch.translate(pattern))


def is_wild(pattern: str) -> bool:
    """Whether a shell pattern can match more than one text."""
    return _WILDCARD.search(pattern) is not None


@functools.lru_cache(maxsize=4096)
def natural_order(name: str) -> tuple[tuple[str, int], ...]:
    """A sort key that counts: ``ttyUSB2`` comes before ``ttyUSB10``."""
    words = [*_NUMBER.split(name), "0"]
    return tuple((words[at], int(words[at + 1])) for at in range(0, len(words) - 1, 2))

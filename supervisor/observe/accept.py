"""Which of the two formats a scraper prefers, by its ``Accept`` header (RFC 9110, 12.5.1). Anybody may send anything there."""

from collections.abc import Iterator
from itertools import islice

from msgspec import Struct

OPENMETRICS = "application/openmetrics-text"
TEXT = frozenset({"text/plain", "text/*", "*/*"})

MOST_RANGES = 64
"""Media ranges that are looked at."""


class _Range(Struct, frozen=True):
    media: str
    version: str
    quality: float


def wants_openmetrics(accept: str) -> bool:
    """Whether version 1 of OpenMetrics is asked for by its name, and nothing that the older format would satisfy is liked more."""
    ranges = tuple(_ranges(accept))
    wanted = max((one.quality for one in ranges if one.media == OPENMETRICS and one.version == "1"), default=0.0)
    return wanted > 0 and wanted >= max((one.quality for one in ranges if one.media in TEXT), default=0.0)


def _ranges(accept: str) -> Iterator[_Range]:
    for entry in islice(accept.lower().split(","), MOST_RANGES):
        media, *parameters = (part.strip() for part in entry.split(";"))
        given = {name.strip(): value.strip(' \t"') for name, _, value in (one.partition("=") for one in parameters)}
        yield _Range(media, given.get("version", "1").partition(".")[0], _quality(given.get("q", "1")))


def _quality(text: str) -> float:
    """0 to 1. What is no such number refuses the range."""
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if 0 <= value <= 1 else 0.0

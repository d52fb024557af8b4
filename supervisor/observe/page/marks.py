"""What all parts of the page are written with: text that cannot become markup, moments, numbers, bars."""

import html
from datetime import UTC, datetime
from typing import Final

LONGEST = 2000
"""Characters of one foreign text; ``/status`` has the rest."""

_UNITS: Final = ((60, 1, "s"), (3600, 60, "min"), (172_800, 3600, "h"), (float("inf"), 86_400, "days"))
"""Below so many seconds, in steps of so many, by what name. The script of the page has the same table."""


def plain(value: str) -> str:
    """Foreign text, for between tags and for quoted attributes."""
    return html.escape(value if len(value) <= LONGEST else value[: LONGEST - 1] + "…")


def text(value: str) -> str:
    """Foreign text that keeps its writing direction to itself: no id can turn around what stands beside it."""
    return f"<bdi>{plain(value)}</bdi>"


def number(value: int) -> str:
    """With narrow spaces between the thousands, which every language reads alike."""
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def many(count: int, one: str, more: str = "") -> str:
    """A number with its noun."""
    return f"{number(count)} {one if count == 1 else more or one + 's'}"


def ago(seconds: float) -> str:
    """How long ago something was, in words."""
    if seconds < 2:
        return "just now"
    size, unit = next((size, unit) for below, size, unit in _UNITS if seconds < below)
    return f"{int(seconds // size)} {unit} ago"


def bar(*shares: tuple[str, int]) -> str:
    """Shares of a whole as a picture, for the eye alone: the figures stand beside it. A share that is there can be seen."""
    whole = sum(count for _, count in shares)
    if not whole:
        return ""
    widths = [max(3.0, 100 * count / whole) if count else 0.0 for _, count in shares]
    scale, left, drawn = 100 / sum(widths), 0.0, []
    for (name, _), width in zip(shares, widths, strict=True):
        if width:
            drawn.append(f'<rect class="{name}" x="{left:.1f}" width="{width * scale:.1f}" height="6"/>')
        left += width * scale
    return f'<svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">{"".join(drawn)}</svg>'


class Clock:
    """Moments as seen at one of them. Most devices came at the same moment, which is worth writing only once."""

    def __init__(self, now: str) -> None:
        """``now``, like all moments here, is RFC 3339 in UTC; what is no such thing is shown as it is."""
        self._now = _read(now)
        self._written: dict[str, str] = {}

    def ago(self, moment: str) -> str:
        """A moment in relative words; the exact ones come with them."""
        known = self._written.get(moment)
        if known is None:
            at = _read(moment)
            words = text(moment) if at is None or self._now is None else self._mark(at, ago((self._now - at).total_seconds()))
            known = self._written[moment] = words
        return known

    def older(self, moment: str | None, seconds: float) -> bool:
        """Whether a moment lies longer back than this."""
        at = _read(moment or "")
        return at is not None and self._now is not None and (self._now - at).total_seconds() > seconds

    def now(self) -> str:
        """The time of day."""
        return "" if self._now is None else f'<time id="now" datetime="{_iso(self._now)}">{self._now:%H:%M:%S} UTC</time>'

    @staticmethod
    def _mark(at: datetime, words: str) -> str:
        iso = _iso(at)
        return f'<time datetime="{iso}" title="{iso[:10]} {iso[11:19]} UTC">{words}</time>'


def _read(moment: str) -> datetime | None:
    try:
        return datetime.fromisoformat(moment).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")

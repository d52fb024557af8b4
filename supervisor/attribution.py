"""Who holds which device, as far as that is known: what may be shown of the ledger's newest reading.

The Device Plugin API never says that a device was given back, and podresources never lists ordinary init containers, so a device
without a holder here is not known to be free. Kubelets up to 1.33 list pods that have ended until they are deleted.
"""

from collections.abc import Mapping

from msgspec import Struct

from supervisor.ledger import Holding, Reading

SETTLING = 10.0
"""Seconds after a kubelet's start in which an empty list proves nothing: it answers before it knows its pods."""

Holders = Mapping[tuple[str, str], tuple[Holding, ...]]
"""By resource and device id."""


class Attribution(Struct, frozen=True):
    """The answer of one moment. Nothing is known until a source has been read."""

    known: bool = False
    reason: str = "the kubelet has not been asked yet"
    """Why it is not known, for people."""
    source: str = ""
    """``podresources`` or ``checkpoint``, which knows pods by their UID alone."""
    read_at: float | None = None
    """When the reading began, in ``time.monotonic()`` seconds."""
    holders: Holders = {}
    """Only what is sure. Equal ones are the same object from one reading to the next."""
    perhaps: Holders = {}
    """What only the kubelet's checkpoint shows: ordinary init containers, and pods that have ended since it was written."""


OFF = Attribution(reason="switched off by ledger.attribution")


def attribute(reading: Reading, kubelet_since: float | None, before: Attribution) -> Attribution:
    """What a reading allows to say. ``kubelet_since``: when this kubelet was first seen; ``before``: what was said last."""
    if not reading.complete:
        return Attribution(reason=reading.reason, read_at=reading.at)
    just_started = kubelet_since is not None and reading.at < kubelet_since + SETTLING
    if just_started and not reading.holdings:
        reason = "the kubelet has just started and may not know its pods yet"
        return Attribution(reason=reason, source=reading.source, read_at=reading.at)
    holders = _same(_by_device(reading.holdings), before.holders)
    perhaps = _same(_by_device(reading.unlisted), before.perhaps)
    return Attribution(True, "", reading.source, reading.at, holders, perhaps)


def _by_device(holdings: tuple[Holding, ...]) -> Holders:
    found: dict[tuple[str, str], tuple[Holding, ...]] = {}
    for holding in holdings:
        key = (holding.resource, holding.device_id)
        found[key] = (*found.get(key, ()), holding)
    return found


def _same(new: Holders, old: Holders) -> Holders:
    """The old one where nothing differs, so that what was drawn of it can be kept."""
    return old if new == old else new

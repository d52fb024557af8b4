"""Sensors of the kernel's hardware monitor, wherever below a card its drivers have registered them (``Documentation/hwmon/sysfs-interface``)."""

import re
from collections.abc import Iterator, Mapping
from typing import Literal

from supervisor_fpga.backends.attributes import Attributes
from supervisor_fpga.report import Sensor

MOST = 64
"""Sensors of one card."""

Kind = Literal["temperature", "power", "voltage"]

_INPUT = re.compile(r"(temp|power|in)[0-9]{1,3}_input")
_KINDS: Mapping[str, tuple[Kind, float]] = {"temp": ("temperature", 1e3), "power": ("power", 1e6), "in": ("voltage", 1e3)}
"""With what the kernel's number is to be divided by."""
_LIMITS = ("crit", "emergency")
_ALARMS = ("alarm", "crit_alarm", "emergency_alarm")
"""``max_alarm`` is none of these: it warns before the card protects itself."""


def sensors(attributes: Attributes, *paths: str) -> tuple[Sensor, ...]:
    """Those of all monitors below these directories of sysfs. May hang: the card's controller is asked."""
    beginnings = tuple(f"{path}/" for path in paths if path)
    found = [
        sensor
        for name in attributes.names("/sys/class/hwmon")
        if (directory := attributes.link(f"/sys/class/hwmon/{name}")).startswith(beginnings)
        for sensor in _of(attributes, directory)
    ]
    return tuple(found[:MOST])


def _of(attributes: Attributes, directory: str) -> Iterator[Sensor]:
    chip = attributes.text(f"{directory}/name") or ""
    there = frozenset(attributes.names(directory))
    for name in sorted(there):
        if (match := _INPUT.fullmatch(name)) is None:
            continue
        channel = name.removesuffix("_input")
        kind, divisor = _KINDS[match[1]]
        label = attributes.text(f"{directory}/{channel}_label") if f"{channel}_label" in there else None
        read = {
            suffix: attributes.number(f"{directory}/{channel}_{suffix}")
            for suffix in ("input", *_LIMITS, *_ALARMS)
            if f"{channel}_{suffix}" in there
        }
        limit = next((value for suffix in _LIMITS if (value := read.get(suffix)) is not None), None)
        yield Sensor(
            name=label or f"{chip} {channel}".strip(),
            kind=kind,
            value=_scaled(read.get("input"), divisor),
            limit=_scaled(limit, divisor),
            alarm=any(read.get(suffix) for suffix in _ALARMS),
        )


def _scaled(value: int | None, divisor: float) -> float | None:
    return None if value is None else value / divisor

"""The counters of ports and of whole devices, as the kernel's files have them."""

from collections.abc import Iterable, Iterator

from supervisor_infiniband.report import Counters
from supervisor_infiniband.sysfs import attributes
from supervisor_infiniband.sysfs.device import Reading

_WORD = 4
"""Octets in one unit of ``port_rcv_data`` and ``port_xmit_data`` (``Documentation/ABI/stable/sysfs-class-infiniband``)."""
_MOST, _MOST_DIGITS = 2**64 - 1, 20
"""Of a number that can be handed over."""
_DATA = frozenset({"port_rcv_data", "port_xmit_data"})


def read(device: str, directory: str, reading: Reading) -> tuple[Counters, ...]:
    """Those of one device, whose id that is. May hang. What is no number (``N/A (no PMA)``) is left out."""
    found = [
        Counters(
            device=device,
            port=port.number,
            values=dict(_values(f"{port.directory}/counters", port.counters)),
            hw_values=dict(_values(f"{port.directory}/hw_counters", port.hw_counters)),
        )
        for port in reading.polled
    ]
    found.append(Counters(device, 0, {}, dict(_values(f"{directory}/hw_counters", reading.own_counters))))
    return tuple(counters for counters in found if counters.values or counters.hw_values)


def _values(directory: str, names: Iterable[str]) -> Iterator[tuple[str, int]]:
    for name, found in attributes.raws(directory, names):
        text = found.strip()
        if text.isdigit() and len(text) <= _MOST_DIGITS:
            value = int(text) * (_WORD if name in _DATA else 1)
            if value <= _MOST:
                yield name, value

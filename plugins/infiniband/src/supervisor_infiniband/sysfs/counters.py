"""The counters of ports and of whole devices, as the kernel's files have them."""

import re
from collections.abc import Iterable, Iterator

from supervisor_infiniband.report import Counters
from supervisor_infiniband.sysfs import attributes
from supervisor_infiniband.sysfs.device import Reading

_WORD = 4
"""Octets in one unit of ``port_rcv_data`` and ``port_xmit_data`` (``Documentation/ABI/stable/sysfs-class-infiniband``)."""
_MOST, _MOST_DIGITS = 2**64 - 1, 20
"""Of a number that can be handed over."""
_DATA = frozenset({"port_rcv_data", "port_xmit_data"})
_PCIE = ("aer_dev_correctable", "aer_dev_nonfatal", "aer_dev_fatal")
_TOTAL = re.compile(rb"^TOTAL_ERR_\w+ ([0-9]{1,19})$", re.MULTILINE)
"""Below a line for each kind of error (``Documentation/ABI/testing/sysfs-bus-pci-devices-aer_stats``)."""


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
    own = dict(_values(f"{directory}/hw_counters", reading.own_counters))
    found.append(Counters(device, 0, dict(_totals(reading.pci)), own))
    return tuple(counters for counters in found if counters.values or counters.hw_values)


def _totals(pci: str) -> Iterator[tuple[str, int]]:
    """What Advanced Error Reporting has counted of a PCI function since the machine started; the kernel knows it by itself."""
    for name, found in attributes.raws(pci, _PCIE) if pci else ():
        if total := _TOTAL.search(found):
            yield name, int(total[1])


def _values(directory: str, names: Iterable[str]) -> Iterator[tuple[str, int]]:
    for name, found in attributes.raws(directory, names):
        text = found.strip()
        if text.isdigit() and len(text) <= _MOST_DIGITS:
            value = int(text) * (_WORD if name in _DATA else 1)
            if value <= _MOST:
                yield name, value

"""PCI addresses in the ids of functions, which people spell in other ways than the kernel."""

import re

from supervisor import natural_order

_ADDRESS = re.compile(r"(?:([0-9a-fA-F]{1,8}):)?([0-9a-fA-F]{1,2}):([01]?[0-9a-fA-F])\.([0-7])")


def normal(text: str) -> str:
    """An id with its address as sysfs has it: ``3B:00.0/port0`` is ``0000:3b:00.0/port0``. Empty where it does not begin with one."""
    address, slash, rest = text.strip().partition("/")
    found = _ADDRESS.fullmatch(address)
    if found is None:
        return ""
    domain, bus, device, function = (int(part or "0", 16) for part in found.groups())
    return f"{domain:04x}:{bus:02x}:{device:02x}.{function:x}{slash}{rest}"


def order(name: str) -> tuple[bool, int, str, tuple[tuple[str, int], ...]]:
    """A sort key for ids: those that begin with an address in the order of the bus, then all others.

    Natural order alone takes ``4f`` for 4, and has it before ``18``.
    """
    address, _, rest = normal(name).partition("/")
    return not address, len(address), address, natural_order(rest if address else name)

"""PCI addresses, which the kernel and people spell in different ways."""

import re

from supervisor import natural_order

_ADDRESS = re.compile(r"(?:([0-9a-fA-F]{1,8}):)?([0-9a-fA-F]{1,2}):([01]?[0-9a-fA-F])\.([0-7])")


def normal(text: str) -> str:
    """The address as sysfs names it: ``0000:3b:00.0``, lower case, at least four digits of domain. Empty for what is none.

    A missing domain is 0, as in the lists of ``lspci``.
    """
    found = _ADDRESS.fullmatch(text.strip())
    if found is None:
        return ""
    domain, bus, device, function = (int(part or "0", 16) for part in found.groups())
    return f"{domain:04x}:{bus:02x}:{device:02x}.{function:x}"


def order(name: str) -> tuple[bool, int, str, tuple[tuple[str, int], ...]]:
    """A sort key for ids: those that begin with an address in the order of the bus, then all others in natural order.

    Natural order alone takes ``4f`` for 4, and has it before ``18``.
    """
    address = normal(name.partition("-")[0])
    return not address, len(address), address, natural_order(name)

"""PCI addresses, which the kernel and people spell in different ways."""

import re

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

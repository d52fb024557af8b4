"""PCI addresses, which NVML, sysfs, procfs and people spell in different ways."""

import re

_ADDRESS = re.compile(r"\A(?:([0-9a-fA-F]{1,8}):)?([0-9a-fA-F]{1,2}):([0-9a-fA-F]{1,2})(?:\.([0-7]))?\Z")


def normal(text: str) -> str:
    """The address as sysfs names it: ``0000:3b:00.0``, lower case, at least four digits of domain. Empty for what is none.

    NVML writes eight digits of domain and capitals; a missing domain or function is 0.
    """
    match = _ADDRESS.match(text.strip())
    if match is None:
        return ""
    domain, bus, device, function = (int(part or "0", 16) for part in match.groups())
    return f"{domain:04x}:{bus:02x}:{device:02x}.{function:x}" if device < 32 else ""

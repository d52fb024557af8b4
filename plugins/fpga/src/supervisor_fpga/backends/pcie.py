"""What PCI Express says of a function: its numbers, which the kernel remembers, and its link, which is asked."""

import re
from typing import Literal

from supervisor import HostDevice, HostView
from supervisor_fpga.backends.attributes import Attributes
from supervisor_fpga.report import PciLink

_SPEED = re.compile(r"([0-9]{1,4}(?:\.[0-9])?) GT/s\b.*")


def link(attributes: Attributes, path: str) -> PciLink | None:
    """Of the PCI function at this directory of sysfs; ``None`` where it tells of none, as VFs do. May hang."""
    found = PciLink(
        speed=_speed(attributes.text(f"{path}/current_link_speed")),
        max_speed=_speed(attributes.text(f"{path}/max_link_speed")),
        width=_width(attributes.number(f"{path}/current_link_width")),
        max_width=_width(attributes.number(f"{path}/max_link_width")),
    )
    return None if found == PciLink() else found


def number(pci: HostDevice | None, name: str) -> str:
    """``vendor`` or ``device`` in four lower-case digits."""
    return "" if pci is None else (pci.attribute(name) or "").lower().removeprefix("0x")


def physical(view: HostView, pci: HostDevice) -> str:
    """The address of a VF's physical function; empty for what is no VF, or where that cannot be seen."""
    return (view.resolve(f"{pci.path}/physfn") or "").rpartition("/")[2]


def kind(view: HostView, pci: HostDevice) -> Literal["pf", "vf"]:
    """A VF in a virtual machine looks like a physical function."""
    return "vf" if physical(view, pci) else "pf"


def _speed(text: str | None) -> float | None:
    match = _SPEED.fullmatch(text or "")
    return None if match is None else float(match[1])


def _width(lanes: int | None) -> int | None:
    """``None`` for 0 and 255, which stand for no link and an unknown one."""
    return lanes if lanes is not None and 0 < lanes < 255 else None

"""What a back end is: it finds the functions of one family of drivers, and asks each what it says now."""

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from supervisor import HostView
from supervisor_fpga.backends.attributes import Attributes
from supervisor_fpga.report import Backend, Function


class Found(Struct, frozen=True):
    """What there is, without a word of the hardware."""

    functions: tuple[Function, ...] = ()
    """With all that links, names and the kernel's own memory tell: ``path``, ``pci``, ``card``, ``driver``, ``nodes``, ….
    An empty ``id``: only the hardware tells which function of its card it is, and ``read`` fills it in.
    """
    notices: tuple[str, ...] = ()
    refused: Mapping[str, str] = {}
    """As in ``Report``."""


class BackEnd(Protocol):
    """One family of drivers. Both methods open no device, and raise nothing: what makes no sense is a ``problem`` of its function."""

    @property
    def name(self) -> Backend: ...

    def find(self, view: HostView) -> Found:
        """List the functions. It must not hang, so it reads no attribute for which a driver asks the hardware."""
        ...

    def read(self, attributes: Attributes, function: Function) -> Function:
        """The function as ``find`` gave it, completed by what its hardware says: ids, evidence. It may hang, and is called in another
        thread for each card, at every look and every poll.
        """
        ...

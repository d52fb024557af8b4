"""What a way of programming is."""

from typing import Protocol

from msgspec import Struct

from supervisor_fpga.operating.bitstreams import Bitstreams, Checked
from supervisor_fpga.operating.devices import Target
from supervisor_fpga.operating.kernel import Kernel
from supervisor_fpga.operating.outcome import Clock


class Job(Struct, frozen=True):
    """Program this with that, in time."""

    kernel: Kernel
    target: Target
    bitstreams: Bitstreams
    file: Checked
    clock: Clock
    lock: int
    """Of its region, for programs that are run."""


class Way(Protocol):
    """``program`` raises ``Stopped``."""

    @property
    def name(self) -> str: ...

    @property
    def is_tool(self) -> bool:
        """Whether a program of others does it, which may fail for reasons of its own."""

    def takes(self, target: Target) -> bool:
        """Whether it is a way for such a device."""

    def program(self, job: Job) -> None:
        """Program it; returns when that has succeeded as far as the way itself can tell. May hang."""

"""Whether FPGAs are well: from looks, polls and what came of programming them, both ways, over restarts.

One way: ``symptoms`` (what speaks against a function at one moment) → ``track`` (what is believed, after the hold-down) and ``failures``
(programming that went wrong) → ``policy`` (what that means for a unit) → ``memory`` (what is kept) → ``monitor`` (the only thing that
changes).
"""

from supervisor_fpga.health.monitor import Counts, Monitor
from supervisor_fpga.health.policy import STATES, Verdict

__all__ = ["STATES", "Counts", "Monitor", "Verdict"]

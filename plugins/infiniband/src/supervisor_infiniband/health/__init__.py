"""Whether RDMA devices are well: from looks, polls and counters, both ways, over restarts.

One way: ``sight`` (what is seen of a port) → ``track`` (what is believed of it, after the hold-down) and ``slopes`` (how fast its errors
rise) → ``policy`` (what that means for a unit) → ``memory`` (what is kept) → ``monitor`` (the only thing that changes).
"""

from supervisor_infiniband.health.monitor import Counts, Monitor, Readings
from supervisor_infiniband.health.policy import STATES, Verdict
from supervisor_infiniband.health.sight import PortKey

__all__ = ["STATES", "Counts", "Monitor", "PortKey", "Readings", "Verdict"]

"""Whether GPUs are well: from XIDs and from what each look tells, both ways, over restarts.

One way: ``policy`` (what an XID means) and ``targets`` (whom it hits), ``evidence`` (what a look tells) → ``state`` (one device) →
``survey`` (all of them) → ``memory`` (what is kept) → ``monitor`` (the only thing that changes).
"""

from supervisor_nvidia_gpu.health.monitor import Counts, Monitor, Verdict
from supervisor_nvidia_gpu.health.state import Change
from supervisor_nvidia_gpu.health.targets import Key

__all__ = ["Change", "Counts", "Key", "Monitor", "Verdict"]

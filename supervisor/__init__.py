"""device-plugin-supervisor: a plugin says what is there, the supervisor says it to the kubelet.

What stands in ``__all__`` is all that a plugin may import. Importing it pulls in no grpc, trio or asyncio.

The map, in the order in which data flows::

    plugins      entry points -> plugin objects
    triggers     udev and timers, each reduced to "look again"
    host         the host under the configured roots: sysfs, devices, NUMA, PCI, the udev database
    discovery    look again -> discover() -> inventories -> feeds, for one plugin
    inventory    what a plugin said, checked device by device
    ledger       ids that may be allocated are never dropped
    feed         the newest inventory of one resource: the only hand-over to the wire thread
    allocation   pure: inventory x ids -> container edits
    kubelet/     sockets, registration, the gRPC service, the simulator: the only importer of grpc and protobuf
    supervision  the task tree: the only place that starts, restarts and stops things
    observe/     metrics, log, probes: subscribers of events
    cli/         one file for each command

Everything else (model, errors, events, config, hookspecs, isolation) is the vocabulary that these share.
"""

from supervisor.errors import AllocationRefused
from supervisor.hookspecs import (
    CONTRACT_VERSION,
    Allocator,
    DevicePlugin,
    Explainer,
    LookAgain,
    Noticer,
    PreferredAllocator,
    PreStarter,
    Watcher,
    hookimpl,
)
from supervisor.host import Host, HostDevice, HostNode, HostView, UsbFacts, glob_pattern, natural_order
from supervisor.inventory import resource_name_problem
from supervisor.model import ContainerEdits, Device, DeviceNode, Health, Mount, Topology

__version__ = "0.1.0"

__all__ = [
    "CONTRACT_VERSION",
    "AllocationRefused",
    "Allocator",
    "ContainerEdits",
    "Device",
    "DeviceNode",
    "DevicePlugin",
    "Explainer",
    "Health",
    "Host",
    "HostDevice",
    "HostNode",
    "HostView",
    "LookAgain",
    "Mount",
    "Noticer",
    "PreStarter",
    "PreferredAllocator",
    "Topology",
    "UsbFacts",
    "Watcher",
    "glob_pattern",
    "hookimpl",
    "natural_order",
    "resource_name_problem",
]

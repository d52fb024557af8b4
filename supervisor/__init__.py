"""device-plugin-supervisor: a plugin says what is there, the supervisor says it to the kubelet.

What stands in ``__all__`` is all that a plugin may import. Importing it pulls in no grpc, trio or asyncio.

The map, in the order in which data flows::

    what a plugin is    hookspecs (the contract)   contract (checked)   model (devices and container edits)   host/ (sysfs, udev)
    plugins come in     plugins (entry points -> objects)   isolation/ (the same, in a child)   assembly -> generation -> units (one plugin in life)
    what outlives us    memory (as plugins hold it)   memories (its files)
    hardware is touched border/ (a program in a child or the helper container, killed and replaced)   crew (reads that may hang)
    it is time to look  triggers (udev)   discovery (when)   looking (one look, in a thread)   inventory, families (what was said, checked)
    what is offered     offers   claims (by whom)   tombstones + ledger (ids that may be held)   tenancy (ids that share hardware)   feed -> the wire thread
    the kubelet asks    kubelet/ (sockets, wire, servicer, simulator)   allocation (pure answers)   calls + slots (plugin code, in time)
    staying registered  kubelet/registration (pure) + registrar   node (one directory)   ownership (one owner)   levels (what the wire tells)
    what happened       events -> observe/ (board -> status, the picture; history; log; metrics)   ages (since when)
    who has shared hardware  tenancy + kubelet/tenancies (decided)   tenancy_file (remembered)   vacancy + landlord (until its pod has gone)
    who holds what      bookkeeping (reads the ledger)   attribution (what may be said of it)
    what people see     observe/reporting -> report (the document) -> observe/page, /status, cli/status   observe/http (who may see it)
    what the cluster sees cluster/ (Events, node condition, node facts; the only one that speaks to the Kubernetes API)
    how it is told      config (values)   config_file, decoding, yamltext (reading)   profiles (for which nodes)   config_watch   cli/ (one file for each command)
    holding it together supervision (the task tree)   heartbeat   wakeup   errors
    what a node lacks   doctor/ (checks of the node)   findings (what plugins found, checked)
    for container runtimes  nodefiles (a directory that others read)   cdi/ (specs in it, verified and kept)
    what is left of us  cleanup (once no container needs it)   leftovers (what plugins have left, checked)
    from other tools    importers (their configuration files, translated by plugin packages)
    hardware is made up simulation/ (a tree that stands for sysfs, and a script that plays on it)
    for others          testing/ (the kit for plugin authors)   demo/ (a newcomer's first minute)   scaffold/ (a new plugin package)

Imports point one way; the order of the layers stands in ``pyproject.toml`` and is tested.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from supervisor.errors import AllocationRefused, BorderFailed, SourceRefused
from supervisor.hookspecs import (
    CONTRACT_VERSION,
    Allocator,
    Cleaner,
    DevicePlugin,
    Examiner,
    Explainer,
    LookAgain,
    Memory,
    MetricsSource,
    NodeLearner,
    Noticer,
    PreferredAllocator,
    PreStarter,
    Successor,
    Watcher,
    hookimpl,
)
from supervisor.host import Host, HostDevice, HostNode, HostView, UsbFacts, glob_pattern, natural_order
from supervisor.inventory import resource_name_problem
from supervisor.model import (
    ContainerEdits,
    Device,
    DeviceNode,
    Finding,
    Health,
    Leftover,
    MetricFamily,
    Mount,
    NodeFacts,
    Remark,
    Sample,
    Topology,
    Translation,
)

if TYPE_CHECKING:
    from supervisor.bell import Bell
    from supervisor.border.border import Border, BorderLimits
    from supervisor.border.child import Outlet, Program, StreamClosed, serve_program
    from supervisor.border.stream import BorderStream
    from supervisor.cdi.files import CdiFiles, CdiState
    from supervisor.cdi.schema import CdiDevice, CdiEdits, CdiHook, CdiMount, CdiNode, CdiSpec, cdi_spec
    from supervisor.crew import Crew
    from supervisor.nodefiles import NodeFolder
    from supervisor.simulation.script import ScriptStep, rehearse, script_steps
    from supervisor.simulation.stage import Stage
    from supervisor.simulation.tree import (
        FileTree,
        TreeContent,
        TreeDevice,
        TreeFiles,
        TreeFolder,
        TreeLink,
        Trouble,
        device_files,
        driver_files,
        spoil,
    )

__version__ = "0.1.0"

__all__ = [
    "CONTRACT_VERSION",
    "AllocationRefused",
    "Allocator",
    "Bell",
    "Border",
    "BorderFailed",
    "BorderLimits",
    "BorderStream",
    "CdiDevice",
    "CdiEdits",
    "CdiFiles",
    "CdiHook",
    "CdiMount",
    "CdiNode",
    "CdiSpec",
    "CdiState",
    "Cleaner",
    "ContainerEdits",
    "Crew",
    "Device",
    "DeviceNode",
    "DevicePlugin",
    "Examiner",
    "Explainer",
    "FileTree",
    "Finding",
    "Health",
    "Host",
    "HostDevice",
    "HostNode",
    "HostView",
    "Leftover",
    "LookAgain",
    "Memory",
    "MetricFamily",
    "MetricsSource",
    "Mount",
    "NodeFacts",
    "NodeFolder",
    "NodeLearner",
    "Noticer",
    "Outlet",
    "PreStarter",
    "PreferredAllocator",
    "Program",
    "Remark",
    "Sample",
    "ScriptStep",
    "SourceRefused",
    "Stage",
    "StreamClosed",
    "Successor",
    "Topology",
    "Translation",
    "TreeContent",
    "TreeDevice",
    "TreeFiles",
    "TreeFolder",
    "TreeLink",
    "Trouble",
    "UsbFacts",
    "Watcher",
    "cdi_spec",
    "device_files",
    "driver_files",
    "glob_pattern",
    "hookimpl",
    "natural_order",
    "rehearse",
    "resource_name_problem",
    "script_steps",
    "serve_program",
    "spoil",
]

_LATE = {
    "Bell": "bell",
    "Border": "border.border",
    "BorderLimits": "border.border",
    "BorderStream": "border.stream",
    "CdiDevice": "cdi.schema",
    "CdiEdits": "cdi.schema",
    "CdiFiles": "cdi.files",
    "CdiHook": "cdi.schema",
    "CdiMount": "cdi.schema",
    "CdiNode": "cdi.schema",
    "CdiSpec": "cdi.schema",
    "CdiState": "cdi.files",
    "Crew": "crew",
    "FileTree": "simulation.tree",
    "NodeFolder": "nodefiles",
    "Outlet": "border.child",
    "Program": "border.child",
    "ScriptStep": "simulation.script",
    "Stage": "simulation.stage",
    "StreamClosed": "border.child",
    "TreeContent": "simulation.tree",
    "TreeDevice": "simulation.tree",
    "TreeFiles": "simulation.tree",
    "TreeFolder": "simulation.tree",
    "TreeLink": "simulation.tree",
    "Trouble": "simulation.tree",
    "cdi_spec": "cdi.schema",
    "device_files": "simulation.tree",
    "driver_files": "simulation.tree",
    "rehearse": "simulation.script",
    "script_steps": "simulation.script",
    "serve_program": "border.child",
    "spoil": "simulation.tree",
}
"""Imported when they are asked for: a program is small, and most plugins have none."""

if not TYPE_CHECKING:  # a type checker would believe that this module has every name

    def __getattr__(name: str) -> Any:
        if name not in _LATE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)

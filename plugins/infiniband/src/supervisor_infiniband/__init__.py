"""InfiniBand, RoCE and every other RDMA device: exclusive, shared or pooled, with health that recovers.

``report`` (what is known) comes from ``probe``, which asks a process that reads the host's sysfs (``sysfs/``). ``rules`` and ``units``
make of it what is offered, ``health`` judges, ``edits`` and ``environment`` say what containers get, ``publishing`` (CDI and device-info
files) what runtimes and CNI plugins read, ``preferred`` what goes well together. ``picture`` holds one look together, and ``plugin``
answers from it. ``importing`` translates other plugins' configuration; ``simulate`` has trees of sysfs for machines that are not there.

The hooks import late: the process that reads sysfs imports this package, too, and has to stay small.
"""

from collections.abc import Iterable

from msgspec import Struct

from supervisor import DevicePlugin, Host, Memory, hookimpl

CONTRACT_VERSION = 1

__all__ = ["CONTRACT_VERSION", "config_type", "device_plugins"]


@hookimpl
def config_type() -> type[Struct]:
    """The section ``plugins.infiniband`` of the configuration file."""
    from supervisor_infiniband.config import InfinibandConfig

    return InfinibandConfig


@hookimpl
def device_plugins(config: Struct, host: Host, memory: Memory) -> Iterable[DevicePlugin]:
    """One plugin for all RDMA devices of the node."""
    from supervisor_infiniband.assembly import plugin

    return [plugin(config, host, memory)]

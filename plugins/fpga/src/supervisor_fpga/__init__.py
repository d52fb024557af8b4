"""FPGAs of every vendor: functions, regions, cards and groups, programmed or reset before a container starts.

``report`` (what is known) comes from ``probe``, which asks a process that reads the host's sysfs (``sysfs/``, with a back end for each
family of drivers in ``backends/``). ``rules``, ``naming`` and ``units`` make of it what is offered, ``health`` judges, ``edits`` and
``environment`` say what containers get. Before a container starts, ``starting`` has a process that may open devices (``operating/``) program
or reset what it gets. ``picture`` holds one look together, and ``plugin`` answers from it; ``simulate`` has machines that are not there.

The hooks import late: the processes that read and operate import this package, too, and have to stay small.
"""

from collections.abc import Iterable

from msgspec import Struct

from supervisor import DevicePlugin, Host, Memory, hookimpl

CONTRACT_VERSION = 1

__all__ = ["CONTRACT_VERSION", "config_type", "device_plugins"]


@hookimpl
def config_type() -> type[Struct]:
    """The section ``plugins.fpga`` of the configuration file."""
    from supervisor_fpga.config import FpgaConfig

    return FpgaConfig


@hookimpl
def device_plugins(config: Struct, host: Host, memory: Memory) -> Iterable[DevicePlugin]:
    """One plugin for all FPGAs of the node."""
    from supervisor_fpga.assembly import plugin

    return [plugin(config, host, memory)]

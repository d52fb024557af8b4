"""The plugin object, made of its section of the configuration."""

from msgspec import Struct

from supervisor import DevicePlugin, Host, Memory
from supervisor_infiniband.config import InfinibandConfig
from supervisor_infiniband.plugin import InfinibandPlugin, Source
from supervisor_infiniband.probe import Probe
from supervisor_infiniband.simulated import SimulatedProbe


def plugin(config: Struct, host: Host, memory: Memory) -> DevicePlugin:
    """One plugin for all RDMA devices of the node."""
    assert isinstance(config, InfinibandConfig)
    return InfinibandPlugin(config, host, memory, _source(config, host))


def _source(config: InfinibandConfig, host: Host) -> Source:
    if config.simulate is not None:
        return SimulatedProbe(config.simulate.layout, config.simulate.script, config)
    return Probe(host, config)

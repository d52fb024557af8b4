"""The plugin object, made of its section of the configuration."""

from msgspec import Struct

from supervisor import DevicePlugin, Host, Memory
from supervisor_fpga.config import FpgaConfig
from supervisor_fpga.plugin import FpgaPlugin
from supervisor_fpga.probe import Probe
from supervisor_fpga.reach import border
from supervisor_fpga.simulated import SimulatedProbe


def plugin(config: Struct, host: Host, memory: Memory) -> DevicePlugin:
    """One plugin for all FPGAs of the node."""
    assert isinstance(config, FpgaConfig)
    if config.simulate is None:
        return FpgaPlugin(config, host, memory, Probe(host, config), border(host))
    simulated = SimulatedProbe(config.simulate.layout, config.simulate.script, config)
    return FpgaPlugin(config, simulated.host, memory, simulated, border(simulated.host, simulated=True))

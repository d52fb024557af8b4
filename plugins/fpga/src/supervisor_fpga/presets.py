"""Names that other plugins give, so that pods need no change, and what is offered where nobody has said anything.

Sources: ``getAfuTree`` and ``getRegionTree`` of Intel's FPGA plugin (0.36), ``NewFPGADevicePlugin`` of AMD's (1.3). Containers get the least
of nodes all the same: AMD's plugin gives the management node, too, which lets a tenant change what others use.
"""

from collections.abc import Mapping

from supervisor_fpga.config import FpgaConfig, Match, Resource

_INTEL = (Match(backend=("dfl", "opae")),)
_U30 = Match(shell=("*xilinx_u30*",))  # noqa: S604  # the shell of an FPGA, not of a process

DEFAULT = (Resource(name="fpga.device-plugin-supervisor.io/{backend}"),)
"""Without preset and resources: each function to one container, by the family of its drivers."""

PRESETS: Mapping[str, tuple[Resource, ...]] = {
    "": DEFAULT,
    "intel-af": (Resource(name="fpga.intel.com/af-{intel_af}", match=_INTEL),),
    "intel-region": (Resource(name="fpga.intel.com/region-{interface_id}", unit="region", match=_INTEL),),
    "amd": (
        Resource(name="amd.com/ama_u30", unit="group", match=(Match(backend=("xrt",), shell=_U30.shell),)),
        Resource(name="amd.com/MA35", match=(Match(backend=("ma35",)),)),
        Resource(name="amd.com/{shell}-{timestamp}", match=(Match(backend=("xrt",), not_=(_U30,)),)),
    ),
}
"""AMD's as it is without settings of its own: the two devices of a U30 come together, and are known by one name. One that has not told
its serial number yet has to wait, since alone it would have another id."""


def rules_of(config: FpgaConfig) -> tuple[Resource, ...]:
    """The rules in force, in the order in which they are asked."""
    return config.resources or PRESETS[config.preset]

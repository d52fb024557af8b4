"""Named layouts: the machines that a configuration can ask for."""

import functools

from msgspec import structs

from supervisor_fpga.simulate.amd import Alveo, alveo_machine
from supervisor_fpga.simulate.embedded import Fabric, embedded_machine
from supervisor_fpga.simulate.intel import NLB3, Card, dfl_machine
from supervisor_fpga.simulate.machine import Machine


def _dfl_card() -> Machine:
    """Two programmable cards of one port each, one at each of two processors."""
    return dfl_machine((Card("0000:3b:00.0"), Card("0000:af:00.0", afus=(NLB3,), numa_node=1)))


def _alveo() -> Machine:
    """A U250, and a U30 with its two chips."""
    first = Alveo("0000:b3:00.0", "xilinx_u30_gen3x4_base_2", device="513d", serial="XFL1RT5PHT31", render=129, numa_node=1)
    return alveo_machine(Alveo("0000:65:00.0"), first, structs.replace(first, address="0000:b4:00.0", render=130))


def _zynq() -> Machine:
    """The fabric of a Zynq UltraScale+ (ZCU102, Kria)."""
    return embedded_machine(Fabric(attributes=True))


_LAYOUTS = {"alveo": _alveo, "dfl-card": _dfl_card, "zynq": _zynq}

NAMES = tuple(sorted(_LAYOUTS))


@functools.cache
def layout(name: str) -> Machine:
    """The machine of this name. Raises ``ValueError`` where there is none."""
    if name not in _LAYOUTS:
        raise ValueError(f"there is no layout {name!r}; there are {', '.join(NAMES)}")
    return _LAYOUTS[name]()

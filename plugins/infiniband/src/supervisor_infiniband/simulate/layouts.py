"""Named layouts: the machines that a configuration can ask for."""

import functools

from supervisor_infiniband.simulate.cards import CX6, CX7, infiniband, roce
from supervisor_infiniband.simulate.changes import numbered, with_vfs
from supervisor_infiniband.simulate.machine import Machine

_VFS = 16


def _dual_port_infiniband() -> Machine:
    """One card, each of its ports a function, as all since ConnectX-4."""
    return numbered(
        Machine((infiniband("0000:3b:00.0", "mlx5_0", "ibp59s0f0"), infiniband("0000:3b:00.1", "mlx5_1", "ibp59s0f1")))
    )


def _roce_16_vfs() -> Machine:
    """One card whose port carries 16 virtual functions."""
    return with_vfs(numbered(Machine((roce("0000:5e:00.0", "mlx5_0", "ens1f0np0", CX6),))), "mlx5_0", _VFS)


def _rails_8() -> Machine:
    """Eight cards of one port each, four at each of two processors, as next to eight GPUs."""
    buses = ["18", "40", "4f", "5e", "9a", "c0", "ce", "dc"]
    return numbered(
        Machine(
            tuple(
                infiniband(f"0000:{bus}:00.0", f"mlx5_{at}", f"ibp{int(bus, 16)}s0", CX7, numa_node=at // 4)
                for at, bus in enumerate(buses)
            )
        )
    )


_LAYOUTS = {"dual-port-infiniband": _dual_port_infiniband, "rails-8": _rails_8, "roce-16-vfs": _roce_16_vfs}

NAMES = tuple(sorted(_LAYOUTS))


@functools.cache
def layout(name: str) -> Machine:
    """The machine of this name. Raises ``ValueError`` where there is none."""
    if name not in _LAYOUTS:
        raise ValueError(f"there is no layout {name!r}; there are {', '.join(NAMES)}")
    return _LAYOUTS[name]()

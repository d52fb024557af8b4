"""What names alone tell: whether a process that reads sysfs is worth it, and what looks like an FPGA."""

from pathlib import Path

import pytest

from supervisor import Host, HostView
from supervisor_fpga.config import Declared
from supervisor_fpga.simulate.tree import Tree
from supervisor_fpga.sysfs.presence import fingerprint, may_have_some, unbound
from tests.plugins.fpga.looks import Plant
from tests.plugins.fpga.machines import MACHINES

WITHOUT = {name for name in MACHINES if name.startswith(("vfio", "declared"))} | {"nothing", "unbound", "dfl_no_driver"}
"""What the kernel's names do not tell; the configuration describes it, or there is none."""


def host(tree: Tree) -> Host:
    """As a process sees it."""
    return Host(sysfs=str(tree.sys), dev=str(tree.dev))


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_where_a_driver_has_something_it_is_seen(plant: Plant, name: str) -> None:
    """And where none has, that is seen, too."""
    assert may_have_some(host(plant(name))) == (name not in WITHOUT)


def test_without_sysfs_there_may_be_some(tmp_path: Path) -> None:
    """Nothing is known then."""
    assert may_have_some(Host(sysfs=str(tmp_path), dev=str(tmp_path)))


def test_only_what_nothing_drives_is_unbound(plant: Plant) -> None:
    """Cards with a driver, and bridges, are none of it."""
    assert unbound(HostView(host(plant("everything")))) == {}
    assert unbound(HostView(host(plant("unbound")))).keys() == {"0000:5e:00.0"}
    assert unbound(HostView(host(plant("unbound"))), {"0000:5e:00.0"}) == {}


def test_what_is_declared_is_watched_as_well(plant: Plant) -> None:
    """A device of a class that nobody else looks at."""
    tree = plant("nothing")
    declared = (Declared(name="acme", subsystem="acme"),)
    before = fingerprint(host(tree), declared)
    without = fingerprint(host(tree), ())
    tree.become(MACHINES["declared_card"]())
    (tree.dev / "acme0").unlink()
    after = fingerprint(host(tree), declared)
    assert before["/sys/class/acme"] != after["/sys/class/acme"]
    assert "/sys/class/acme" not in without

"""Finding devices: by ids alone, in the machine's own sysfs."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_fpga.operating import devices
from supervisor_fpga.operating.outcome import Stopped
from supervisor_fpga.simulate.intel import A10_INTERFACE, NLB0
from tests.plugins.fpga.machines import CARD, SECOND, VF
from tests.plugins.fpga.operating.yard import Yard

Plant = Callable[..., Yard]
KINDS = ("dfl", "opae", "manager", "xrt", "ma35", "declared", "vfio", "none")


def test_a_port_with_all_that_belongs_to_it(plant: Plant) -> None:
    """Its node, its engine, its manager, and what it says."""
    yard = plant("dfl_two_cards")
    found = devices.find(yard.tools.tree, CARD, "dfl")
    assert (found.region, found.number, found.afu_id(), found.interface_id()) == (f"{CARD}/region0", 0, NLB0, A10_INTERFACE)
    assert found.node is not None
    assert found.engine is not None
    assert (found.node.path, found.engine.path) == (f"{yard.tree.dev}/dfl-port.0", f"{yard.tree.dev}/dfl-fme.0")
    assert found.state() == "unknown"
    assert devices.find(yard.tools.tree, SECOND, "dfl").region == f"{SECOND}/region0"


def test_a_vf_shares_its_card_s_region(plant: Plant) -> None:
    """It is the same fabric, whoever's port it is."""
    yard = plant("dfl_vf_of_card")
    found = devices.find(yard.tools.tree, VF, "dfl")
    assert found.region == f"{CARD}/region0"
    assert found.engine is not None
    assert found.registers == (f"{found.path}/errors/errors",)


def test_a_vf_alone_has_no_engine(plant: Plant) -> None:
    """As in a virtual machine: it can be reset, and not programmed."""
    yard = plant("dfl_vf_alone")
    found = devices.find(yard.tools.tree, VF, "dfl")
    assert (found.engine, found.interface, found.manager) == (None, "", "")


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (f"{CARD}/port2", "dfl"),
        (CARD, "dfl"),
        ("0000:ff:00.0", "dfl"),
        ("fpga9", "manager"),
        ("0000:ff:00.0", "manager"),
        ("0000:ff:00.0", "xrt"),
    ],
)
def test_what_is_not_there_has_failed(plant: Plant, function: str, kind: str) -> None:
    """The plugin has seen it, so it is the hardware's matter; a card with two ports is no function."""
    yard = plant("dfl_two_ports")
    with pytest.raises(Stopped) as stopped:
        devices.find(yard.tools.tree, function, kind)
    assert stopped.value.outcome == "failed"


@pytest.mark.parametrize("function", ["..", "../../etc", "/etc", "a/b", "", f"{CARD}/../x", f"{CARD}\n", "x" * 64])
@pytest.mark.parametrize("kind", KINDS)
def test_a_path_is_no_id(function: str, kind: str) -> None:
    """A request names no paths, by no kind."""
    with pytest.raises(Stopped) as stopped:
        devices.find(devices.Tree("/sys", "/dev"), function, kind)
    assert stopped.value.outcome == "refused"


@given(st.text(max_size=30), st.sampled_from(KINDS))
def test_any_id_stays_in_sysfs(function: str, kind: str) -> None:
    """Whatever it says, what is found lies in the tree, or nothing is."""
    try:
        found = devices.find(devices.Tree("/nonexistent/sys", "/nonexistent/dev"), function, kind)
    except Stopped:
        return
    assert (found.path, found.node) == ("", None)
    assert "/" not in found.id

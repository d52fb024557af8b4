"""What our specs go on saying of devices that containers may hold: all of it, but for what belongs to somebody else now."""

from hypothesis import given
from hypothesis import strategies as st

from supervisor import CdiDevice, CdiEdits, CdiNode, CdiSpec, cdi_spec
from supervisor_nvidia_gpu.cdi.keeping import stale


def device(name: str, *nodes: str) -> CdiDevice:
    return CdiDevice(name, CdiEdits(device_nodes=tuple(CdiNode(f"/dev/{node}") for node in nodes)))


def spec(*devices: CdiDevice) -> CdiSpec:
    return cdi_spec("vendor.example/gpu", devices)


def kept(now: CdiSpec, before: CdiSpec) -> list[str]:
    return [each.name for each in before.devices if not stale(now, each)]


@given(st.sampled_from(["0", "1", "0:0", "GPU-a", "MIG-c"]), st.sampled_from(["nvidia0", "nvidia1"]))
def test_a_name_is_given_up_only_when_its_nodes_are_anothers(name: str, node: str) -> None:
    """Whatever is hidden, vanished or called otherwise now."""
    for now in (spec(device("GPU-new", "nvidia7")), spec(device("7", "nvidia0"))):
        assert kept(now, spec(device(name, node))) == [name]


def test_what_has_made_place_for_another_goes() -> None:
    """A new layout gives the rights of a MIG device to another, and an exchanged GPU's node is its successor's; graphics nodes move."""
    before = spec(
        device("MIG-a", "nvidia0", "nvidia-caps/nvidia-cap3", "nvidia-caps/nvidia-cap4"),
        device("GPU-b", "nvidia1", "dri/card0"),
    )
    now = spec(
        device("MIG-c", "nvidia0", "nvidia-caps/nvidia-cap3", "nvidia-caps/nvidia-cap4"),
        device("GPU-d", "nvidia1", "dri/card1"),
    )
    assert kept(now, before) == []


def test_a_device_does_not_make_place_for_itself() -> None:
    """A spec that is not wanted any more is asked about its own devices."""
    before = spec(device("GPU-a", "nvidia0"), device("MIG-b", "nvidia1", "nvidia-caps/nvidia-cap3"))
    assert kept(before, before) == ["GPU-a", "MIG-b"]


def test_siblings_stay() -> None:
    """Two MIG devices of one GPU share its node, and those of one GPU instance a right."""
    before = spec(device("MIG-a", "nvidia0", "nvidia-caps/nvidia-cap3", "nvidia-caps/nvidia-cap4"))
    now = spec(device("MIG-b", "nvidia0", "nvidia-caps/nvidia-cap3", "nvidia-caps/nvidia-cap5"), device("GPU-c", "nvidia0"))
    assert kept(now, before) == ["MIG-a"]

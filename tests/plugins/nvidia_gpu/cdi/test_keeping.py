"""What a spec goes on saying of devices that containers may hold: all of it, but for what belongs to somebody else now."""

from hypothesis import given
from hypothesis import strategies as st

from supervisor_nvidia_gpu.cdi.keeping import keeping, says
from supervisor_nvidia_gpu.cdi.schema import CdiDevice, DeviceNode, Edits, Spec, decode, encode, versioned

KIND = "vendor.example/gpu"
COMMON = Edits(env=("DRIVER=1",))


def device(name: str, *nodes: str) -> CdiDevice:
    return CdiDevice(name, Edits(device_nodes=tuple(DeviceNode(f"/dev/{node}") for node in nodes)))


def spec(*devices: CdiDevice, common: Edits = COMMON) -> Spec:
    return versioned(KIND, devices, common)


def names(found: Spec) -> list[str]:
    return [each.name for each in found.devices]


_devices = st.lists(
    st.builds(device, st.sampled_from(["0", "1", "0:0", "GPU-a", "GPU-b", "MIG-c"]), st.sampled_from(["nvidia0", "nvidia1"])),
    min_size=1,
    unique_by=lambda each: each.name,
)


@given(_devices, _devices)
def test_all_that_is_wanted_is_said_and_nothing_twice(before: list[CdiDevice], now: list[CdiDevice]) -> None:
    """The file is a good spec whatever was in it, and doing it again changes nothing, so that runtimes read nothing anew."""
    wanted = spec(*now)
    found = keeping(wanted, spec(*before, common=Edits(env=("DRIVER=0",))))
    assert decode(encode(found)) == found
    assert says(found, wanted)
    assert set(names(found)) <= {each.name for each in (*before, *now)}
    assert keeping(wanted, found) == found


@given(_devices)
def test_a_name_is_given_up_only_when_its_nodes_are_anothers(before: list[CdiDevice]) -> None:
    """Whatever is hidden, vanished or called otherwise now."""
    for wanted in (spec(device("GPU-new", "nvidia7")), spec(device("7", "nvidia0"))):
        assert set(names(keeping(wanted, spec(*before)))) == {*names(wanted), *(each.name for each in before)}


def test_what_has_made_place_for_another_goes() -> None:
    """A new layout gives the rights of a MIG device to another, and an exchanged GPU's node is its successor's; graphics nodes move."""
    old = spec(
        device("MIG-a", "nvidia0", "nvidia-caps/nvidia-cap3", "nvidia-caps/nvidia-cap4"),
        device("GPU-b", "nvidia1", "dri/card0"),
    )
    new = spec(
        device("MIG-c", "nvidia0", "nvidia-caps/nvidia-cap3", "nvidia-caps/nvidia-cap4"),
        device("GPU-d", "nvidia1", "dri/card1"),
    )
    assert keeping(new, old) == new


def test_siblings_stay() -> None:
    """Two MIG devices of one GPU share its node, and those of one GPU instance a right."""
    old = spec(device("MIG-a", "nvidia0", "nvidia-caps/nvidia-cap3", "nvidia-caps/nvidia-cap4"))
    new = spec(device("MIG-b", "nvidia0", "nvidia-caps/nvidia-cap3", "nvidia-caps/nvidia-cap5"), device("GPU-c", "nvidia0"))
    assert names(keeping(new, old)) == ["MIG-b", "GPU-c", "MIG-a"]


def test_a_file_of_another_kind_says_nothing() -> None:
    """Nor does one that could not be read."""
    wanted = spec(device("GPU-a", "nvidia0"))
    assert keeping(wanted, None) == wanted
    assert keeping(wanted, versioned("other.example/gpu", spec(device("GPU-b", "nvidia1")).devices)) == wanted
    assert not says(versioned("other.example/gpu", wanted.devices, COMMON), wanted)
    assert not says(spec(device("GPU-a", "nvidia1")), wanted)
    assert not says(spec(device("GPU-a", "nvidia0"), common=Edits(env=("DRIVER=0",))), wanted)

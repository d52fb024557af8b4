"""What a spec goes on saying of devices that containers may hold: all of it, but for what belongs to somebody else now."""

from hypothesis import given
from hypothesis import strategies as st

from supervisor import CdiDevice, CdiEdits, CdiNode, CdiSpec, cdi_spec
from supervisor.cdi.keeping import keeping, says
from supervisor.cdi.schema import decode, encode

KIND = "vendor.example/gpu"
COMMON = CdiEdits(env=("DRIVER=1",))


def device(name: str, *nodes: str) -> CdiDevice:
    return CdiDevice(name, CdiEdits(device_nodes=tuple(CdiNode(f"/dev/{node}") for node in nodes)))


def spec(*devices: CdiDevice, common: CdiEdits = COMMON) -> CdiSpec:
    return cdi_spec(KIND, devices, common)


def names(found: CdiSpec) -> list[str]:
    return [each.name for each in found.devices]


def never(spec: CdiSpec, device: CdiDevice) -> bool:
    return False


def of_another(spec: CdiSpec, device: CdiDevice) -> bool:
    """By the first node."""
    return device.container_edits.device_nodes[0] in {each.container_edits.device_nodes[0] for each in spec.devices}


_devices = st.lists(
    st.builds(device, st.sampled_from(["0", "1", "0:0", "a", "b", "c"]), st.sampled_from(["node0", "node1"])),
    min_size=1,
    unique_by=lambda each: each.name,
)


@given(_devices, _devices, st.sampled_from([never, of_another]))
def test_all_that_is_wanted_is_said_and_nothing_twice(before: list[CdiDevice], now: list[CdiDevice], stale: object) -> None:
    """The file is a good spec whatever was in it, and doing it again changes nothing, so that runtimes read nothing anew."""
    rule = never if stale is never else of_another
    wanted = spec(*now)
    found = keeping(wanted, spec(*before, common=CdiEdits(env=("DRIVER=0",))), rule)
    assert decode(encode(found)) == found
    assert says(found, wanted)
    assert set(names(found)) <= {each.name for each in (*before, *now)}
    assert keeping(wanted, found, rule) == found


@given(_devices, _devices)
def test_a_name_is_given_up_only_when_it_is_stale(before: list[CdiDevice], now: list[CdiDevice]) -> None:
    """Whatever is hidden, vanished or called otherwise now."""
    wanted, wanted_names = spec(*now), {each.name for each in now}
    assert set(names(keeping(wanted, spec(*before), never))) == wanted_names | {each.name for each in before}
    kept = {each.name for each in before if not of_another(wanted, each)}
    assert set(names(keeping(wanted, spec(*before), of_another))) == wanted_names | kept


def test_a_file_of_another_kind_says_nothing() -> None:
    """Nor does one that could not be read."""
    wanted = spec(device("a", "node0"))
    assert keeping(wanted, None, never) == wanted
    assert keeping(wanted, cdi_spec("other.example/gpu", spec(device("b", "node1")).devices), never) == wanted
    assert not says(cdi_spec("other.example/gpu", wanted.devices, COMMON), wanted)
    assert not says(spec(device("a", "node1")), wanted)
    assert not says(spec(device("a", "node0"), common=CdiEdits(env=("DRIVER=0",))), wanted)


def test_the_version_follows_what_is_kept() -> None:
    """A name that begins with a digit needs a newer one."""
    assert spec(device("a", "node0")).cdi_version == "0.3.0"
    assert keeping(spec(device("a", "node0")), spec(device("0", "node1")), never).cdi_version == "0.5.0"

"""Which resource has which device, what each rule says of it, and that nothing moves for a reason that is none."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from supervisor_infiniband.config import DEFAULT_POOLS, InfinibandConfig, Match, Pool
from supervisor_infiniband.report import RdmaDevice, Report
from supervisor_infiniband.rules import offer
from supervisor_infiniband.units import replica_ids
from tests.plugins.infiniband.functions import DOWN, config_of, devices, ids, matches, offered, pf, port, rxe, sf, vf

PF, PF1 = "0000:3b:00.0", "0000:3b:00.1"

# --- who takes what ---------------------------------------------------------------------------------------------------------


def test_without_resources_each_kind_has_its_own() -> None:
    """VFs, SFs and all others, each to one container; a device of no bus is one of the others."""
    found = offer(Report((pf(), pf(1), vf(0, 1), sf(4), rxe())), InfinibandConfig())
    assert found.resources == ("rdma/vf", "rdma/sf", "rdma/hca")
    assert ids(found, "rdma/vf") == ["0000:3b:01.0"]
    assert ids(found, "rdma/sf") == ["mlx5_core.sf.4"]
    assert ids(found, "rdma/hca") == [PF, PF1, rxe().id]
    assert not found.notices


def test_by_default_only_what_is_there_is_offered() -> None:
    """A node without VFs does not say that it has 0 of them, as long as nobody has configured them."""
    assert offer(Report((pf(),)), InfinibandConfig()).resources == ("rdma/hca",)
    assert offer(Report(), InfinibandConfig()).resources == ()


def test_a_configured_resource_is_offered_without_devices() -> None:
    """Pods that ask for it then wait for a device, and the scheduler knows the name."""
    found = offered("{name: a, match: [{kind: [vf]}]}, {name: b, mode: pool, replicas: 4, match: [{kind: [sf]}]}", pf())
    assert found.resources == ("rdma/a", "rdma/b")
    assert not found.units


def test_the_first_that_fits_has_it() -> None:
    """In the order of the file; within a match all must fit, of several matches one."""
    found = offered(
        "{name: odd, match: [{numaNode: [1], kind: [pf]}, {pf: ['ens1f0#0,5']}]}, {name: vf, match: [{kind: [vf]}]}, {name: rest}",
        pf(0),
        pf(1),
        *(vf(index) for index in range(7)),
    )
    assert ids(found, "rdma/odd") == [PF1, "0000:3b:01.0", "0000:3b:01.5"]
    assert ids(found, "rdma/vf") == ["0000:3b:01.1", "0000:3b:01.2", "0000:3b:01.3", "0000:3b:01.4", "0000:3b:01.6"]
    assert ids(found, "rdma/rest") == [PF]
    assert found.taken == {unit.devices[0].id: unit.resource for unit in found.units}
    assert found.reasons[PF] == (
        "rdma/odd refuses it: match[0]: NUMA node 0 is not 1; match[1]: pf: it is no VF or SF of a physical function",
        "rdma/vf refuses it: kind pf is not vf",
        "rdma/rest takes it",
    )
    assert found.reasons[PF1] == ("rdma/odd takes it: kind pf, numaNode 1",)


def test_a_pf_is_named_by_any_of_its_names() -> None:
    """By its interface, its address, and the kernel's name of its RDMA device, though that stands with another device."""
    names = ["ens1f0", PF, "mlx5_0"]
    resources = ", ".join(f"{{name: r{at}, match: [{{pf: ['{name}#{at}']}}]}}" for at, name in enumerate(names))
    found = offered(resources, pf(), vf(0), vf(1), vf(2))
    assert [unit.resource for unit in found.units] == ["rdma/r0", "rdma/r1", "rdma/r2"]
    split = offered("{name: r, match: [{pf: [mlx5_0]}]}", pf(id=f"{PF}-b8cef60300aa0000"), vf(0))
    assert ids(split, "rdma/r") == ["0000:3b:01.0"]


def test_shared_and_pooled() -> None:
    """Shared devices keep their ids apart; a pool is one unit with all of them."""
    found = offered(
        "{name: shared, mode: shared, replicas: 2, match: [{numaNode: [0]}]}, {name: all, mode: pool, replicas: 3}",
        pf(0),
        pf(1),
        pf(3),
    )
    shared, pooled = found.units
    assert replica_ids(shared) == (f"{PF}::0", f"{PF}::1")
    assert (pooled.id, [device.id for device in pooled.devices]) == ("rdma.all", [PF1, "0000:3b:00.3"])


def test_devices_come_in_the_order_of_the_bus() -> None:
    """Which is hexadecimal: 18 is before 4f."""
    found = offered("{name: a}", *(pf(id=f"0000:{bus}:00.0") for bus in ("4f", "a0", "18", "09")))
    assert ids(found, "rdma/a") == ["0000:09:00.0", "0000:18:00.0", "0000:4f:00.0", "0000:a0:00.0"]


def test_many_matches_are_cut_short() -> None:
    """A reason stays a sentence where a list has hundreds of matches."""
    found = offered(f"{{name: a, match: [{', '.join(f'{{name: [x{at}]}}' for at in range(40))}]}}", pf())
    (reason,) = found.reasons[PF]
    assert reason.startswith("rdma/a refuses it: match[0]: name mlx5_0 is not x0; ")
    assert reason.endswith("; and 35 matches more")


# --- physical functions with virtual ones -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resource", "taken"),
    [
        ("{name: a}", False),
        ("{name: a, match: [{kind: [pf]}]}", False),
        ("{name: a, match: [{not: [{hasVfs: false}]}]}", False),
        ("{name: a, match: [{hasVfs: true}]}", True),
        ("{name: a, match: [{kind: [pf]}, {hasVfs: true, vendor: ['15b3']}]}", True),
        ("{name: a, match: [{kind: [pf]}, {hasVfs: true, vendor: ['8086']}]}", False),
        ("{name: a, mode: shared, replicas: 2}", True),
        ("{name: a, mode: pool, replicas: 2}", True),
    ],
)
def test_a_pf_with_vfs_is_not_given_away_by_accident(resource: str, taken: bool) -> None:
    """Others may be using its VFs, so an exclusive resource has to say that it means it."""
    found = offered(resource, pf(vfs=4))
    assert (ids(found, "rdma/a") != []) is taken
    if not taken:
        assert (
            "it has 4 virtual functions, which others may be using; a match with hasVfs: true takes it" in found.reasons[PF][0]
        )
        assert found.notices == (f"1 RDMA device with virtual functions: not offered itself (mlx5_0 ({PF}))",)


def test_a_pf_of_another_vendor_is_refused_for_that() -> None:
    """Not for its VFs, which would be no cure."""
    assert offered("{name: a, match: [{vendor: ['8086']}]}", pf(vfs=4)).reasons[PF] == (
        "rdma/a refuses it: vendor 15b3 is not 8086",
    )


# --- what comes to no rule --------------------------------------------------------------------------------------------------


def test_a_quarantined_device_is_refused() -> None:
    """Of what makes no sense nobody knows what it is."""
    found = offered("{name: a}", pf(problem="its node_type is 'xyzzy'"))
    assert not found.units
    assert found.reasons == {PF: ("it is quarantined: its node_type is 'xyzzy'",)}
    assert not found.notices


def test_a_quarantined_device_that_was_offered_stays() -> None:
    """A pod may have it; its health says the rest. What no resource had, or one that is gone, is refused all the same."""
    broken = Report((pf(problem="gone mad", kind="virtual"),))
    config = config_of("resources: [{name: a, match: [{vendor: ['8086']}]}, {name: b, match: [{kind: [pf]}]}]")
    found = offer(broken, config, {PF: "rdma/b"})
    assert found.taken == {PF: "rdma/b"}
    assert found.reasons[PF] == (
        "rdma/a refuses it: it is quarantined: gone mad",
        "rdma/b keeps it, as before: it is quarantined: gone mad",
    )
    assert offer(broken, config, {PF: "rdma/c"}).reasons[PF] == ("it is quarantined: gone mad",)


def test_what_the_look_refused_has_its_reason() -> None:
    """Under the kernel's name, since it has no id."""
    found = offer(Report((pf(),), refused={"smi1": "it is no end point"}), InfinibandConfig())
    assert found.reasons == {
        "smi1": ("it is no end point",),
        PF: ("rdma/vf refuses it: kind pf is not vf", "rdma/sf refuses it: kind pf is not sf", "rdma/hca takes it"),
    }


# --- nothing moves without a reason -----------------------------------------------------------------------------------------

FAST = "resources: [{name: named, match: [{interface: ['ib*']}]}, {name: fast, match: [{rate: 100}]}, {name: rest}]"


@pytest.mark.parametrize("had", ["rdma/named", "rdma/fast", "rdma/rest"])
def test_a_device_keeps_its_resource_while_something_is_not_seen(had: str) -> None:
    """A pod has its interface and its port is down: under another name it would be free for a second pod."""
    blind = pf(ports=(port(link=DOWN, interface=""),))
    found = offer(Report((blind,)), config_of(FAST), {PF: had})
    assert found.taken == {PF: had}
    assert offer(Report((blind,)), config_of(FAST)).taken == {PF: "rdma/rest"}


def test_why_it_was_kept() -> None:
    """The sentence names what is not known."""
    blind = pf(ports=(port(link=DOWN, interface=""),))
    assert offer(Report((blind,)), config_of(FAST), {PF: "rdma/fast"}).reasons[PF] == (
        "rdma/named refuses it: interface is not known",
        "rdma/fast keeps it, as before: rate is not known, which only an active port tells",
    )


def test_a_device_moves_for_what_is_certain() -> None:
    """An interface that has another name now is a reason; so is a resource before, which now certainly takes it."""
    renamed = pf(ports=(port(interface="eth0"),))
    assert offer(Report((renamed,)), config_of(FAST), {PF: "rdma/named"}).taken == {PF: "rdma/fast"}
    assert offer(Report((pf(),)), config_of(FAST), {PF: "rdma/fast"}).taken == {PF: "rdma/named"}


@pytest.mark.parametrize("had", ["rdma/gone", "", None, ["rdma/fast"], {"rdma/fast": 1}, 7])
def test_what_makes_no_sense_counts_nothing(had: object) -> None:
    """Of a resource that is not there any more, or of a memory that was tampered with."""
    for device in (pf(ports=(port(link=DOWN),)), pf(problem="gone mad")):
        report = Report((device,))
        assert offer(report, config_of(FAST), {PF: had}) == offer(report, config_of(FAST))


def test_a_doubt_takes_nothing_from_others() -> None:
    """A negation that fits only since the interface is not seen leaves the device where it was, and takes what is new."""
    config = config_of("resources: [{name: other, match: [{not: [{interface: ['ib*']}]}]}, {name: rest}]")
    blind = Report((pf(ports=(port(interface=""),)),))
    kept = offer(blind, config, {PF: "rdma/rest"})
    assert kept.reasons[PF] == ("rdma/other leaves it where it was, since interface is not known", "rdma/rest takes it")
    assert offer(blind, config).reasons[PF] == ("rdma/other takes it: interface is not known",)


# --- notices ----------------------------------------------------------------------------------------------------------------


def test_devices_that_nobody_takes_are_told_in_one_sentence() -> None:
    """Counted, and the first of them named."""
    found = offered("{name: a, match: [{kind: [sf]}]}", *(vf(index) for index in range(7)))
    named = ", ".join(f"mlx5_{index + 8} (0000:3b:01.{index})" for index in range(5))
    assert found.notices == (f"7 RDMA devices that no resource takes: {named} and 2 more",)


@pytest.mark.parametrize(
    ("resources", "notices"),
    [
        ("{name: a}, {name: b}", ["rdma/b can never have a device: rdma/a before it takes them all"]),
        (
            "{name: a}, {name: b, match: [{kind: [vf]}]}",
            ["rdma/b can never have a device: rdma/a before it takes them all"],
        ),
        (
            "{name: a, match: [{kind: [vf]}]}, {name: b, match: [{kind: [sf]}]}, {name: c, match: [{kind: [sf]}, {kind: [vf]}]}",
            ["rdma/c can never have a device: rdma/b and rdma/a before it take them all"],
        ),
        ("{name: a, match: [{kind: [vf]}]}, {name: b, match: [{kind: [vf]}, {kind: [sf]}]}", []),
        ("{name: a, match: [{kind: [vf]}]}, {name: b}", []),
        ("{name: a}, {name: b, mode: shared, replicas: 2}", []),
        (
            "{name: a}, {name: b, mode: shared, replicas: 2, match: [{hasVfs: false}]}",
            ["rdma/b can never have a device: rdma/a before it takes them all"],
        ),
        ("{name: a}, {name: b, match: [{hasVfs: true}]}", []),
        (
            "{name: a, match: [{hasVfs: true}]}, {name: b, match: [{hasVfs: true}]}",
            ["rdma/b can never have a device: rdma/a before it takes them all"],
        ),
        (
            "{name: a, mode: shared, replicas: 2}, {name: b, match: [{hasVfs: true}]}",
            ["rdma/b can never have a device: rdma/a before it takes them all"],
        ),
    ],
)
def test_resources_that_can_never_have_a_device(resources: str, notices: list[str]) -> None:
    """Where the order of the file leaves nothing for one, that is told, with the resource that is in its way."""
    assert list(offered(resources).notices) == notices


def test_the_default_resources_leave_something_for_each() -> None:
    """No notice about what nobody has written."""
    assert not offer(Report(), InfinibandConfig(resources=DEFAULT_POOLS)).notices


# --- laws -------------------------------------------------------------------------------------------------------------------


def pools(number: int) -> st.SearchStrategy[Pool]:
    mode = st.sampled_from([("exclusive", None), ("shared", 2), ("pool", 2)])
    chosen = st.lists(matches(), max_size=2).map(tuple)
    return st.builds(lambda mode, match: Pool(name=f"r{number}", mode=mode[0], replicas=mode[1], match=match), mode, chosen)


def configs() -> st.SearchStrategy[InfinibandConfig]:
    """Up to four resources of any mode."""
    count = st.integers(0, 4)
    listed = count.flatmap(lambda most: st.tuples(*(pools(number) for number in range(most))))
    return listed.map(lambda resources: InfinibandConfig(resources=resources))


REPORTS = st.lists(devices(), max_size=6, unique_by=lambda device: device.id).map(lambda found: Report(tuple(found)))
EARLIER = st.dictionaries(st.sampled_from([PF, PF1, "mlx5_core.sf.4"]), st.sampled_from(["rdma/r0", "rdma/r1", "rdma/gone"]))


@given(REPORTS, configs(), EARLIER)
def test_each_device_is_taken_once_or_not_at_all(report: Report, config: InfinibandConfig, before: dict[str, str]) -> None:
    """No device is in two units, each that is in one is told so, and each has a last word about it."""
    found = offer(report, config, before)
    held = [device.id for unit in found.units for device in unit.devices]
    assert len(held) == len({*held})
    assert {*held} == found.taken.keys()
    assert found.reasons.keys() == {device.id for device in report.devices}
    for device in report.devices:
        owner = found.taken.get(device.id)
        told = any(text.startswith((f"{owner} takes it", f"{owner} keeps it")) for text in found.reasons[device.id][-1:])
        assert told is (owner is not None)


@given(REPORTS, configs(), EARLIER)
def test_ids_are_unique_on_the_node(report: Report, config: InfinibandConfig, before: dict[str, str]) -> None:
    """Across all resources, as the kubelet's ledger wants it."""
    given_out = [each for unit in offer(report, config, before).units for each in replica_ids(unit)]
    assert len(given_out) == len({*given_out})


@given(REPORTS, configs(), EARLIER, st.randoms(use_true_random=False))
def test_the_order_of_devices_does_not_matter(
    report: Report, config: InfinibandConfig, before: dict[str, str], random: Random
) -> None:
    """What sysfs lists first has no privilege."""
    shuffled = [*report.devices]
    random.shuffle(shuffled)
    assert offer(Report(tuple(shuffled)), config, before) == offer(report, config, before)


@given(REPORTS, configs(), EARLIER)
def test_an_offer_is_its_own_successor(report: Report, config: InfinibandConfig, before: dict[str, str]) -> None:
    """Where nothing has changed nothing moves."""
    first = offer(report, config, before)
    assert offer(report, config, first.taken).taken == first.taken


@given(REPORTS, configs())
def test_blindness_moves_nothing(report: Report, config: InfinibandConfig) -> None:
    """When the interfaces of all devices are gone and their ports are down, each device is where it was."""
    first = offer(report, config)

    def blind(device: RdmaDevice) -> RdmaDevice:
        return replace(device, ports=tuple(replace(each, link=DOWN) for each in device.ports))

    later = offer(Report(tuple(map(blind, report.devices))), config, first.taken)
    assert {name: later.taken.get(name) for name in first.taken} == first.taken


@given(matches(), devices())
def test_a_match_and_its_negation_share_all_devices(match: Match, device: RdmaDevice) -> None:
    """Two resources, one of what fits and one of what does not, leave nothing."""
    whole = replace(device, problem="", vfs=0)
    config = InfinibandConfig(resources=(Pool(name="yes", match=(match,)), Pool(name="no", match=(Match(not_=(match,)),))))
    assert offer(Report((whole,)), config).taken.keys() == {whole.id}

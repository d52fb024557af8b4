"""What becomes a unit of which resource: MIG strategies, names, time slices, and what is refused."""

from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import AllocationRefused, resource_name_problem
from supervisor_nvidia_gpu.config import NvidiaGpuConfig
from supervisor_nvidia_gpu.report import Gpu, Report
from supervisor_nvidia_gpu.units import Unit, check_request, offer, physical, replica_ids
from tests.plugins.nvidia_gpu.gpus import L40S, config_of, configs, gpu, ids, nodes, offered, uuid_of

GPU = "nvidia.com/gpu"

# --- whole GPUs -----------------------------------------------------------------------------------------------------------


def test_whole_gpus() -> None:
    """Each GPU is one unit of nvidia.com/gpu, known by its UUID and in the order of the indices."""
    found = offered("{}", gpu(1), gpu(0))
    assert [(unit.resource, unit.id, unit.gpu.index) for unit in found.units] == [(GPU, uuid_of(0), 0), (GPU, uuid_of(1), 1)]
    assert found.resources == {GPU}
    assert not found.problems
    assert not found.hidden
    assert replica_ids(found.units[0]) == (uuid_of(0),)


def test_a_node_without_gpus_offers_nothing() -> None:
    """A node that has none is not announced as one with 0."""
    assert offered("{}").resources == frozenset()


@pytest.mark.parametrize(
    ("sharing", "name"),
    [
        ("{}", GPU),
        ("{timeSlicing: {renameByDefault: true, resources: [{name: gpu, replicas: 4}]}}", "nvidia.com/gpu.shared"),
        ("{timeSlicing: {resources: [{name: gpu, replicas: 4, devices: [0]}]}}", GPU),
    ],
)
def test_where_all_is_hidden_the_name_stays(sharing: str, name: str) -> None:
    """A node whose GPUs are all excluded offers 0 of what it would offer else."""
    found = offered(f"{{selection: {{exclude: [{{index: 0}}]}}, sharing: {sharing}}}", gpu(0))
    assert not found.units
    assert found.resources == {name}
    assert found.hidden == {uuid_of(0): "excluded by selection.exclude[0] (index 0)"}


def test_a_gpu_with_a_problem_keeps_its_place() -> None:
    """Its id stays listed, for its health to judge, and its neighbours are as before."""
    found = offered("{}", gpu(0), gpu(1, problem="GPU is lost"), gpu(2))
    assert [(unit.id, unit.gpu.problem, unit.problem) for unit in found.units] == [
        (uuid_of(0), "", ""),
        (uuid_of(1), "GPU is lost", ""),
        (uuid_of(2), "", ""),
    ]


def test_a_gpu_without_a_uuid_is_told_and_hidden() -> None:
    """What has no name cannot be listed; its address says which one it is."""
    found = offered(
        "{}", gpu(0, uuid="", problem="no permission"), gpu(1, uuid=""), Gpu(index=2, problem="handle failed"), gpu(3)
    )
    assert [unit.gpu.index for unit in found.units] == [3]
    assert found.hidden == {
        "0000:10:00.0": "no permission",
        "0000:11:00.0": "its UUID cannot be read",
        "index 2": "handle failed",
    }


def test_two_gpus_with_one_uuid() -> None:
    """An id is given out once, and it is said who goes without."""
    found = offered("{}", gpu(0), gpu(1, uuid=uuid_of(0)))
    assert [unit.gpu.index for unit in found.units] == [0]
    assert found.notices == (
        f"GPU 1 (0000:11:00.0) and GPU 0 (0000:10:00.0) both hold {uuid_of(0)}: only the first is offered",
    )


def test_a_cordoned_gpu_stays_listed() -> None:
    """Its pods go on and no new one comes; the reason names the rule."""
    found = offered("{selection: {cordon: [{index: 0}, {index: 1}]}}", gpu(0), gpu(1, problem="GPU is lost"), gpu(2))
    assert [(unit.cordoned, unit.problem) for unit in found.units] == [
        (True, "cordoned by selection.cordon[0] (index 0)"),
        (True, "cordoned by selection.cordon[1] (index 1)"),
        (False, ""),
    ]


# --- MIG ------------------------------------------------------------------------------------------------------------------


def test_none_takes_a_gpu_in_mig_mode_as_a_whole() -> None:
    """As the operator said; a notice tells what containers will miss."""
    found = offered("{migStrategy: none}", gpu(0, "1g.10gb", "1g.10gb"), gpu(1))
    assert ids(found, GPU) == [uuid_of(0), uuid_of(1)]
    assert found.notices == ("GPU 0 (0000:10:00.0) is in MIG mode, but migStrategy is none: it is offered as a whole",)


def test_mixed_names_each_profile() -> None:
    """NVIDIA's names, a plus becomes a dot, and whole GPUs stay what they are."""
    found = offered("{migStrategy: mixed}", gpu(0, "1g.10gb", "3g.40gb", "1g.10gb+me", "1g.10gb+me.all", "1g.10gb-me"), gpu(1))
    assert Counter(unit.resource for unit in found.units) == {
        "nvidia.com/gpu": 1,
        "nvidia.com/mig-1g.10gb": 1,
        "nvidia.com/mig-3g.40gb": 1,
        "nvidia.com/mig-1g.10gb.me": 1,
        "nvidia.com/mig-1g.10gb.me.all": 1,
        "nvidia.com/mig-1g.10gb-me": 1,
    }
    assert ids(found, "nvidia.com/mig-3g.40gb") == [uuid_of(1, "MIG")]
    assert not found.problems
    assert not found.notices


def test_part_of_a_gpu_instance_is_hidden() -> None:
    """A compute instance with some of the slices is not offered, and it is said why."""
    found = offered("{migStrategy: mixed}", gpu(0, "1c.2g.20gb", "2g.20gb"))
    assert ids(found, "nvidia.com/mig-2g.20gb") == [uuid_of(1, "MIG")]
    assert found.hidden == {uuid_of(0, "MIG"): "1c.2g.20gb has not all compute slices of its GPU instance"}


def test_a_profile_that_makes_no_name_is_hidden() -> None:
    """What a newer driver may call a profile costs that device alone."""
    found = offered("{migStrategy: mixed}", gpu(0, "1g.10gb", "odd profile"))
    assert found.resources == {"nvidia.com/mig-1g.10gb"}
    assert "is no resource name" in found.hidden[uuid_of(1, "MIG")]


@pytest.mark.parametrize("strategy", ["single", "mixed"])
def test_mig_mode_without_devices_is_a_notice(strategy: str) -> None:
    """The GPU has nothing to offer, the others go on, and it is told."""
    found = offered(f"{{migStrategy: {strategy}}}", gpu(0, mig_enabled=True), gpu(1))
    assert ids(found, GPU) == [uuid_of(1)]
    assert found.hidden == {uuid_of(0): "in MIG mode, but without MIG devices"}
    assert not found.problems
    assert found.notices == ("GPU 0 (0000:10:00.0) is in MIG mode, but has no MIG devices: create some, or turn the mode off",)


def test_single_offers_mig_devices_as_gpus() -> None:
    """With one shape on all GPUs, each MIG device is a nvidia.com/gpu."""
    found = offered("{migStrategy: single}", gpu(0, "1g.10gb", "1g.10gb"), gpu(1, "1g.10gb"))
    assert ids(found, GPU) == [uuid_of(0, "MIG"), uuid_of(1, "MIG"), uuid_of(100, "MIG")]
    assert not found.problems
    assert all(not unit.problem for unit in found.units)


def test_single_with_whole_gpus_beside() -> None:
    """Whole GPUs go on; the MIG devices, which pods did not mean, are listed Unhealthy with the reason."""
    found = offered("{migStrategy: single}", gpu(0, "1g.10gb", "1g.10gb"), gpu(1))
    problem = (
        "migStrategy is single, but nvidia.com/gpu is made of 1g.10gb (GPU 0 (0000:10:00.0)), whole GPUs (GPU 1 (0000:11:00.0)): "
        "make all GPUs alike, or use mixed"
    )
    assert [(unit.id, unit.problem) for unit in found.units] == [
        (uuid_of(0, "MIG"), problem),
        (uuid_of(1, "MIG"), problem),
        (uuid_of(1), ""),
    ]
    assert found.problems == {GPU: problem}


def test_single_with_two_shapes_hurts_one_resource() -> None:
    """Another resource, made by a name, is not touched by the bad one."""
    text = "{migStrategy: single, naming: [{profile: 7g.*, name: big}, {model: '*L40S', name: l40s}]}"
    found = offered(text, gpu(0, "1g.10gb", "2g.20gb"), gpu(1, "7g.80gb"), gpu(2, model=L40S))
    assert {unit.resource: bool(unit.problem) for unit in found.units} == {
        GPU: True,
        "nvidia.com/big": False,
        "nvidia.com/l40s": False,
    }
    assert found.problems.keys() == {GPU}


def test_an_unreadable_gpu_makes_no_layout_bad() -> None:
    """A lost GPU, whose mode cannot be read, looks whole; the MIG devices of its neighbours stay good."""
    found = offered("{migStrategy: single}", gpu(0, "1g.10gb"), gpu(1, mig_enabled=None, problem="GPU is lost"))
    assert [(unit.id, unit.problem) for unit in found.units] == [(uuid_of(0, "MIG"), ""), (uuid_of(1), "")]
    assert not found.problems


def test_an_excluded_gpu_makes_no_layout_bad() -> None:
    """Leaving the odd one out is a cure."""
    found = offered("{migStrategy: single, selection: {exclude: [{index: 1}]}}", gpu(0, "1g.10gb"), gpu(1))
    assert [unit.problem for unit in found.units] == [""]


def test_a_changed_layout_is_another_offer() -> None:
    """Nothing is remembered: resources come and go with the report alone."""
    before = offered("{migStrategy: mixed}", gpu(0, "1g.10gb", "1g.10gb"))
    after = offered("{migStrategy: mixed}", gpu(0, "3g.40gb"))
    assert before.resources == {"nvidia.com/mig-1g.10gb"}
    assert after.resources == {"nvidia.com/mig-3g.40gb"}


# --- names ----------------------------------------------------------------------------------------------------------------


def test_the_first_name_that_fits() -> None:
    """Rules with a profile are for MIG devices, those without for whole GPUs; a name without a domain gets NVIDIA's."""
    text = """
    migStrategy: mixed
    naming:
      - {model: "*l40s*", name: l40s}
      - {model: "*", name: example.com/other}
      - {profile: 1g.*, model: "*L40S*", name: never}
      - {profile: 1g.*, name: small}
    """
    found = offered(text, gpu(0, model=L40S), gpu(1), gpu(2, "1g.10gb", "2g.20gb"))
    assert [unit.resource for unit in found.units] == [
        "nvidia.com/l40s",
        "example.com/other",
        "nvidia.com/small",
        "nvidia.com/mig-2g.20gb",
    ]


# --- time slices ----------------------------------------------------------------------------------------------------------


def slicing(*rules: str, **keys: str) -> str:
    """A section that shares; rules in YAML."""
    more = "".join(f", {key}: {value}" for key, value in keys.items())
    return f"{{migStrategy: mixed, sharing: {{timeSlicing: {{resources: [{', '.join(rules)}]{more}}}}}}}"


def test_slices_count_from_zero() -> None:
    """NVIDIA's ids: the UUID, two colons, a number."""
    (unit,) = offered(slicing("{name: nvidia.com/gpu, replicas: 3}"), gpu(0)).units
    assert replica_ids(unit) == (f"{uuid_of(0)}::0", f"{uuid_of(0)}::1", f"{uuid_of(0)}::2")
    assert {physical(each) for each in replica_ids(unit)} == {uuid_of(0)}
    assert all(len(each) <= 63 for each in replica_ids(unit))


@pytest.mark.parametrize(
    ("rule", "keys", "name"),
    [
        ("{name: gpu, replicas: 2}", {}, GPU),
        ("{name: gpu, replicas: 2}", {"renameByDefault": "true"}, "nvidia.com/gpu.shared"),
        ("{name: gpu, replicas: 2, rename: slow}", {"renameByDefault": "true"}, "nvidia.com/slow"),
        ("{name: gpu, replicas: 2, rename: gpu}", {"renameByDefault": "true"}, GPU),
        ("{name: gpu, replicas: 2, rename: example.com/slow}", {}, "example.com/slow"),
    ],
)
def test_names_of_slices(rule: str, keys: dict[str, str], name: str) -> None:
    """By default the same name, or with .shared, or the rule's own."""
    found = offered(slicing(rule, **keys), gpu(0))
    assert found.resources == {name}


def test_counts_for_each_gpu() -> None:
    """Rules for different devices of one resource; a device that no rule means stays whole."""
    text = slicing("{name: gpu, replicas: 2, devices: [0]}", f"{{name: gpu, replicas: 5, devices: [{uuid_of(2).upper()}]}}")
    found = offered(text, gpu(0), gpu(1), gpu(2))
    assert [(unit.replicas, unit.shared) for unit in found.units] == [(2, True), (1, False), (5, True)]
    assert found.resources == {GPU}
    assert not found.problems
    assert not found.notices


def test_the_first_so_many() -> None:
    """A number means that many, by index."""
    found = offered(slicing("{name: gpu, replicas: 2, devices: 2, rename: slow}"), gpu(2), gpu(1), gpu(0))
    assert ids(found, "nvidia.com/slow") == [uuid_of(0), uuid_of(1)]
    assert ids(found, GPU) == [uuid_of(2)]


def test_mig_devices_are_shared_too() -> None:
    """By profile, and one by one as parent:index; an index alone means no MIG device."""
    text = slicing('{name: mig-1g.10gb, replicas: 4, devices: ["0:1", 1]}', "{name: mig-2g.20gb, replicas: 2}")
    found = offered(text, gpu(0, "1g.10gb", "1g.10gb"), gpu(1, "1g.10gb", "2g.20gb"))
    assert [unit.replicas for unit in found.units] == [1, 4, 1, 2]
    assert found.notices == ("sharing.timeSlicing.resources[0]: nvidia.com/mig-1g.10gb has no 1",)


def test_two_rules_for_one_gpu() -> None:
    """By index and by UUID: the first counts, the second is refused for that GPU with a reason."""
    text = slicing("{name: gpu, replicas: 2, devices: [0]}", f"{{name: gpu, replicas: 3, devices: [{uuid_of(0)}, 1]}}")
    found = offered(text, gpu(0), gpu(1))
    assert [unit.replicas for unit in found.units] == [2, 3]
    assert found.problems == {
        GPU: f"sharing.timeSlicing.resources[1] is refused for {uuid_of(0)}, which resources[0] shares",
    }


def test_a_rename_onto_a_name_that_a_layout_brings() -> None:
    """Only now is the name taken: what was renamed stands back, what owns the name goes on."""
    found = offered(slicing("{name: gpu, replicas: 4, rename: mig-1g.10gb}"), gpu(0, "1g.10gb"), gpu(1))
    owner, renamed = found.units
    assert (owner.problem, renamed.resource) == ("", "nvidia.com/mig-1g.10gb")
    assert renamed.problem == (
        "nvidia.com/mig-1g.10gb would be made of nvidia.com/gpu (4 slices each), nvidia.com/mig-1g.10gb (whole); "
        "share them alike, or choose another name"
    )
    assert found.problems == {"nvidia.com/mig-1g.10gb": renamed.problem}


def test_names_merge_where_the_owner_says_the_same() -> None:
    """Two resources cut alike may become one."""
    text = slicing("{name: gpu, replicas: 4, rename: mig-1g.10gb}", "{name: mig-1g.10gb, replicas: 4}")
    found = offered(text, gpu(0, "1g.10gb"), gpu(1))
    assert found.resources == {"nvidia.com/mig-1g.10gb"}
    assert not found.problems


# --- requests -------------------------------------------------------------------------------------------------------------


def refusal(text: str, asked: list[str], units: Sequence[Unit]) -> str:
    """Why a request is refused; empty where it is granted."""
    try:
        check_request(asked, units, config_of(text))
    except AllocationRefused as refused:
        return str(refused)
    return ""


def test_more_than_one_slice_is_refused_where_said() -> None:
    """failRequestsGreaterThanOne is about slices: whole GPUs beside them may be asked for in numbers."""
    text = slicing("{name: gpu, replicas: 4, devices: [0, 1]}", failRequestsGreaterThanOne="true")
    units = offered(text, gpu(0), gpu(1), gpu(2), gpu(3)).units
    assert refusal(text, [f"{uuid_of(0)}::0", f"{uuid_of(1)}::0"], units) == (
        "2 devices asked for, but a time slice is given out alone (failRequestsGreaterThanOne): ask for 1"
    )
    assert refusal(text, [f"{uuid_of(0)}::0", uuid_of(2)], units)
    assert refusal(text, ["GPU-gone::0", "GPU-gone::1"], [])
    assert not refusal(text, [f"{uuid_of(0)}::3"], units)
    assert not refusal(text, [uuid_of(2), uuid_of(3)], units)
    assert not refusal(slicing("{name: gpu, replicas: 4}"), [f"{uuid_of(0)}::0", f"{uuid_of(0)}::1"], units)


def test_spread_refuses_two_slices_of_one_gpu() -> None:
    """Different GPUs are fine, whatever the numbers of their slices."""
    text = "{sharing: {policy: spread, timeSlicing: {resources: [{name: gpu, replicas: 4}]}}}"
    units = offered(text, gpu(0), gpu(1)).units
    assert refusal(text, [f"{uuid_of(0)}::0", f"{uuid_of(1)}::0", f"{uuid_of(0)}::2"], units) == (
        f"several time slices of {uuid_of(0)} in one container, which the policy spread forbids"
    )
    assert not refusal(text, [f"{uuid_of(0)}::1", f"{uuid_of(1)}::1"], units)


def test_physical_strips_at_the_last_double_colon() -> None:
    """Addresses and UUIDs with single colons keep them."""
    assert physical("0000:3b:00.0::12") == "0000:3b:00.0"
    assert physical("0000:3b:00.0") == "0000:3b:00.0"
    assert physical("a::b::3") == "a::b"


# --- what always holds ----------------------------------------------------------------------------------------------------


@given(nodes(), configs())
def test_ids_are_complete_and_disjoint(gpus: Sequence[Gpu], config: NvidiaGpuConfig) -> None:
    """Every UUID is offered once or hidden with a reason, and no id of the kubelet is given out twice."""
    found = offer(Report(gpus=tuple(gpus)), config)
    listed = [each for unit in found.units for each in replica_ids(unit)]
    assert len(listed) == len(set(listed)) == sum(unit.replicas for unit in found.units)
    assert {physical(each) for each in listed} == {unit.id for unit in found.units}
    units = {unit.id for unit in found.units}
    assert units.isdisjoint(found.hidden)
    for each in gpus:
        parts = {mig.uuid for mig in each.mig}
        known = units | found.hidden.keys()
        assert (each.uuid or each.pci) in known or (parts and parts <= known)
    assert all(found.hidden.values())


@given(nodes(), configs(), st.randoms())
def test_the_order_of_gpus_means_nothing(gpus: Sequence[Gpu], config: NvidiaGpuConfig, random: Random) -> None:
    """NVML may enumerate in any order: the offer is the same."""
    before = offer(Report(gpus=tuple(gpus)), config)
    shuffled = [*gpus]
    random.shuffle(shuffled)
    assert offer(Report(gpus=tuple(shuffled)), config) == before


@given(nodes(), configs())
def test_names_are_those_that_the_kubelet_takes(gpus: Sequence[Gpu], config: NvidiaGpuConfig) -> None:
    """No configuration that was accepted makes a name that is refused later; units and problems belong to offered names."""
    found = offer(Report(gpus=tuple(gpus)), config)
    assert all(resource_name_problem(name) is None for name in found.resources)
    assert {unit.resource for unit in found.units} <= found.resources
    assert found.problems.keys() <= found.resources
    assert bool(found.resources) is bool(gpus)


@given(nodes(), configs())
def test_a_resource_has_one_cut_or_one_source(gpus: Sequence[Gpu], config: NvidiaGpuConfig) -> None:
    """Healthy units of one name that are cut differently come from devices of one and the same resource."""
    plain = NvidiaGpuConfig(mig_strategy=config.mig_strategy, naming=config.naming, selection=config.selection)
    source = {unit.id: unit.resource for unit in offer(Report(gpus=tuple(gpus)), plain).units}
    good = [unit for unit in offer(Report(gpus=tuple(gpus)), config).units if not unit.problem]
    for resource in {unit.resource for unit in good}:
        units = [unit for unit in good if unit.resource == resource]
        assert len({source[unit.id] for unit in units}) == 1 or len({unit.replicas for unit in units}) == 1


@given(nodes(), configs())
def test_trouble_never_unlists(gpus: Sequence[Gpu], config: NvidiaGpuConfig) -> None:
    """A GPU that gets a problem, and is still known by its UUID, keeps all its ids."""
    before = offer(Report(gpus=tuple(gpus)), config)
    broken = tuple(Gpu(**{name: getattr(each, name) for name in each.__struct_fields__} | {"problem": "lost"}) for each in gpus)
    after = offer(Report(gpus=broken), config)
    assert [(unit.resource, replica_ids(unit)) for unit in after.units] == [
        (unit.resource, replica_ids(unit)) for unit in before.units
    ]
    assert all(unit.gpu.problem == "lost" for unit in after.units)

"""Which ids are preferred: near GPUs, and parts of GPUs by policy; whatever is asked, an answer."""

import random
from collections import Counter
from collections.abc import Sequence
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_nvidia_gpu.config import NvidiaGpuConfig, Shared, Sharing, TimeSlicing
from supervisor_nvidia_gpu.preferred import Policy, prefer
from supervisor_nvidia_gpu.report import Gpu, Report
from supervisor_nvidia_gpu.simulate.layouts import NAMES, layout
from supervisor_nvidia_gpu.simulate.script import apply, parse
from supervisor_nvidia_gpu.topology import Topology, matrix
from supervisor_nvidia_gpu.units import Unit, offer, physical, replica_ids

POLICIES: tuple[Policy, ...] = ("distributed", "packed", "spread")
WHOLE = NvidiaGpuConfig()
PARTS = NvidiaGpuConfig(mig_strategy="mixed")


def sliced(replicas: int) -> NvidiaGpuConfig:
    rule = Shared(name="nvidia.com/gpu", replicas=replicas)
    return NvidiaGpuConfig(sharing=Sharing(time_slicing=TimeSlicing(resources=(rule,))))


def units_of(report: Report, config: NvidiaGpuConfig = WHOLE, resource: str = "nvidia.com/gpu") -> tuple[Unit, ...]:
    return tuple(unit for unit in offer(report, config).units if unit.resource == resource)


def topology_of(report: Report) -> Topology:
    return matrix(report, {gpu.uuid: gpu.numa_node for gpu in report.gpus if gpu.numa_node is not None})


def ids_of(units: Sequence[Unit]) -> list[str]:
    return [name for unit in units for name in replica_ids(unit)]


def partitioned(line: str) -> Report:
    """A machine whose MIG layout is changed by one line of a script."""
    beginning = layout("dgx-a100")
    (step,) = parse([f"after 0s {line}"], beginning)
    return apply(step, beginning, beginning)


@st.composite
def machines(draw: st.DrawFn) -> Report:
    """Up to eight GPUs, with any links and ancestors."""
    count = draw(st.integers(1, 8))
    square = st.lists(st.tuples(*[st.integers(0, 3)] * count), min_size=count, max_size=count).map(tuple)
    ways = st.lists(st.tuples(*[st.sampled_from([0, 10, 20, 30, 40, 50])] * count), min_size=count, max_size=count).map(tuple)
    gpus = tuple(Gpu(index=at, uuid=f"GPU-{at}", numa_node=draw(st.sampled_from([None, 0, 1]))) for at in range(count))
    return Report(gpus, links=draw(square), ancestors=draw(st.one_of(ways, st.just(()))))


@given(st.data(), st.one_of(machines(), st.sampled_from([layout("dgx-h100"), layout("dgx-a100"), layout("l40s-4")])))
def test_no_other_choice_of_whole_gpus_scores_more(data: st.DataObject, report: Report) -> None:
    """Of up to eight GPUs, as exhaustive search would choose, whatever is free and must be there."""
    topology = topology_of(report)
    names = [gpu.uuid for gpu in report.gpus]
    available = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    must = data.draw(st.lists(st.sampled_from(available), max_size=3, unique=True))
    size = data.draw(st.integers(len(must), len(available)))

    def score(chosen: Sequence[str]) -> int:
        return sum(topology.score(one, other) for one, other in combinations(chosen, 2))

    answer = prefer(units_of(report), topology, available, must, size, "distributed")
    assert len(set(answer)) == len(answer) == size
    assert set(must) <= set(answer) <= set(available)
    assert score(answer) == max(score(c) for c in combinations(available, size) if set(must) <= set(c))


@st.composite
def questions(draw: st.DrawFn) -> tuple[tuple[Unit, ...], Topology, list[str], list[str]]:
    """Units of any kind, and ids to choose of: known ones, and some that nobody knows."""
    report = draw(st.one_of(st.sampled_from(NAMES).map(layout), st.just(partitioned("mig 0 1g.5gb*7"))))
    config = draw(st.sampled_from([WHOLE, PARTS, NvidiaGpuConfig(mig_strategy="single"), sliced(2), sliced(10)]))
    units = offer(report, config).units
    resource = draw(st.sampled_from(sorted({unit.resource for unit in units})))
    units = tuple(unit for unit in units if unit.resource == resource)
    strange = [*ids_of(units), f"{units[0].id}::99", f"{units[0].id}::x", units[0].id, "GPU-gone", "GPU-gone::0", "::", ""]
    available = draw(st.lists(st.sampled_from(strange), max_size=30))
    return units, topology_of(report), available, draw(st.lists(st.sampled_from(strange), max_size=4))


@given(questions(), st.integers(-1, 40), st.sampled_from(POLICIES), st.randoms(use_true_random=False))
def test_every_question_is_answered(
    question: tuple[tuple[Unit, ...], Topology, list[str], list[str]], size: int, policy: Policy, chance: random.Random
) -> None:
    """Exactly so many as asked for, if there are so many; what must be there first; the same in whatever order ids are listed."""
    units, topology, available, must = question
    answer = prefer(units, topology, available, must, size, policy)
    distinct = set(available) | set(must)
    assert len(set(answer)) == len(answer) == min(max(size, 0), len(distinct))
    assert set(answer) <= distinct
    assert set(answer) >= set(must) or set(answer) <= set(must)
    shuffled = chance.sample(available, len(available))
    assert prefer(units, topology, shuffled, must, size, policy) == answer


def test_a_lost_gpu_changes_nothing_for_the_others() -> None:
    """A GPU that the topology does not know is taken where there is no other."""
    report = layout("dgx-a100")
    names = [gpu.uuid for gpu in report.gpus]
    without = matrix(Report(report.gpus[:7], ancestors=report.ancestors), {})
    assert set(prefer(units_of(report), without, names, [], 7, "distributed")) == set(names[:7])
    assert set(prefer(units_of(report), without, names, [], 8, "distributed")) == set(names)


def test_gpus_of_one_switch_go_together() -> None:
    """Of two free pairs with one torn pair beside them, two GPUs are a whole pair, and one GPU is of the torn one."""
    report = layout("dgx-a100")
    names = [gpu.uuid for gpu in report.gpus]
    units, topology = units_of(report), topology_of(report)
    free = [*names[1:4], *names[6:8]]
    assert set(prefer(units, topology, free, [], 2, "distributed")) in ({names[2], names[3]}, {names[6], names[7]})
    assert prefer(units, topology, free, [], 1, "distributed") == [names[1]]
    assert prefer(units, topology, names, [names[5]], 2, "distributed") == [names[5], names[4]]


def test_slices_are_distributed_over_the_gpus_that_are_used_least() -> None:
    """One GPU is used by others, so the slices come of the rest, in turn."""
    report = layout("l40s-4")
    units, topology = units_of(report, sliced(4)), topology_of(report)
    used = units[0].id
    available = [name for name in ids_of(units) if name not in {f"{used}::0", f"{used}::1"}]
    counts = Counter(map(physical, prefer(units, topology, available, [], 6, "distributed")))
    assert counts == {unit.id: 2 for unit in units[1:]}


def test_slices_are_packed_on_the_gpu_that_is_used_most() -> None:
    """What is left of a used GPU goes first, then one whole GPU after the other."""
    report = layout("l40s-4")
    units, topology = units_of(report, sliced(4)), topology_of(report)
    used = units[2].id
    available = [name for name in ids_of(units) if name != f"{used}::3"]
    answer = prefer(units, topology, available, [], 5, "packed")
    assert answer[:3] == [f"{used}::0", f"{used}::1", f"{used}::2"]
    # The other GPU of the same NUMA node comes next.
    assert set(map(physical, answer[3:])) == {units[3].id}


def test_spread_slices_are_of_different_gpus_as_far_as_there_are() -> None:
    """Where distributed would take two of the idle GPU, spread takes one of each."""
    report = layout("l40s-4")
    units, topology = units_of(report, sliced(4)), topology_of(report)
    idle = units[1].id
    available = [f"{unit.id}::3" for unit in units if unit.id != idle] + [f"{idle}::{number}" for number in range(4)]
    assert set(map(physical, prefer(units, topology, available, [], 2, "distributed"))) == {idle}
    for size in (2, 3, 4):
        assert len(set(map(physical, prefer(units, topology, available, [], size, "spread")))) == size
    assert Counter(map(physical, prefer(units, topology, available, [], 6, "spread")))[idle] == 3
    must = [f"{idle}::2"]
    assert idle not in map(physical, prefer(units, topology, available, must, 4, "spread")[1:])


@pytest.mark.parametrize(("policy", "gpus"), [("distributed", 2), ("packed", 1), ("spread", 2)])
def test_mig_devices_follow_the_policy_by_gpu(policy: Policy, gpus: int) -> None:
    """Two MIG devices of one profile: of two GPUs, or of one."""
    beginning = layout("dgx-a100")
    report = beginning
    for step in parse(["after 0s mig 0 1g.5gb*7", "after 0s mig 3 1g.5gb*7"], beginning):
        report = apply(step, report, beginning)
    units = units_of(report, PARTS, "nvidia.com/mig-1g.5gb")
    assert len(units) == 14
    answer = prefer(units, topology_of(report), ids_of(units), [], 2, policy)
    of_unit = {unit.id: unit.gpu.index for unit in units}
    assert len({of_unit[name] for name in answer}) == gpus


def test_slices_of_mig_devices_are_spread_over_gpus_then_over_mig_devices() -> None:
    """Three slices on one GPU are of three MIG devices."""
    rule = Shared(name="nvidia.com/mig-1g.5gb", replicas=3)
    config = NvidiaGpuConfig(mig_strategy="mixed", sharing=Sharing(time_slicing=TimeSlicing(resources=(rule,))))
    report = partitioned("mig 0 1g.5gb*7")
    units = units_of(report, config, "nvidia.com/mig-1g.5gb")
    for policy in ("distributed", "spread"):
        answer = prefer(units, topology_of(report), ids_of(units), [], 7, policy)
        assert len(set(map(physical, answer))) == 7
    answer = prefer(units, topology_of(report), ids_of(units), [], 4, "packed")
    assert len(set(map(physical, answer))) == 2

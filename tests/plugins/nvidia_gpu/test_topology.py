"""How near GPUs are, from complete, partial and contradictory facts."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from supervisor import HostView
from supervisor.testing import FakeHost
from supervisor_nvidia_gpu.report import Gpu, Report
from supervisor_nvidia_gpu.topology import matrix, numa_nodes

TABLES = st.lists(st.lists(st.integers(-1, 60), max_size=4).map(tuple), max_size=4).map(tuple)


def gpus(*uuids: str) -> tuple[Gpu, ...]:
    return tuple(Gpu(index=at, uuid=uuid) for at, uuid in enumerate(uuids))


def place(host: FakeHost, address: str, node: str) -> None:
    """A PCI device in sysfs."""
    directory = f"/sys/devices/pci0000:00/{address}"
    host.write(f"{directory}/uevent", "")
    host.write(f"{directory}/numa_node", f"{node}\n")
    link = host.path(f"/sys/bus/pci/devices/{address}")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(f"../../../devices/pci0000:00/{address}")


def test_links_and_ways_add_up() -> None:
    """A hundred for each NVLink, and the common ancestor on top."""
    report = Report(
        gpus("a", "b", "c"), links=((0, 18, 0), (18, 0, 0), (0, 0, 0)), ancestors=((0, 10, 50), (10, 0, 30), (50, 30, 0))
    )
    topology = matrix(report, {})
    assert topology.score("a", "b") == 1850
    assert topology.score("b", "c") == 30
    assert topology.score("a", "c") == 10
    assert topology.score("a", "a") == 0


def test_numa_nodes_decide_where_the_driver_says_nothing() -> None:
    """Two GPUs of one node are nearer than two of different ones, or of one that nobody knows."""
    topology = matrix(Report(gpus("a", "b", "c", "d")), {"a": 0, "b": 0, "c": 1})
    assert topology.score("a", "b") == 20
    assert topology.score("a", "c") == topology.score("a", "d") == topology.score("c", "d") == 10
    assert topology.nodes == {"a": 0, "b": 0, "c": 1}


def test_a_gpu_that_cannot_tell_is_as_near_as_the_others_say() -> None:
    """A link that only one end sees counts in both directions."""
    topology = matrix(Report(gpus("a", "b"), links=((0, 4),), ancestors=((), (30,))), {})
    assert topology.score("a", "b") == topology.score("b", "a") == 430


@given(TABLES, TABLES, st.lists(st.sampled_from(["", "a", "b", "c"]), max_size=5))
def test_any_facts_give_a_symmetric_matrix(
    links: tuple[tuple[int, ...], ...], ancestors: tuple[tuple[int, ...], ...], uuids: list[str]
) -> None:
    """Missing rows, levels that nobody knows, GPUs without a UUID and UUIDs that occur twice are no error."""
    topology = matrix(Report(gpus(*uuids), links=links, ancestors=ancestors), {"a": 0})
    known = [*topology.positions, "unknown"]
    assert set(topology.positions) == set(uuids) - {""}
    for one in known:
        for other in known:
            assert topology.score(one, other) == topology.score(other, one) >= 0
            assert (topology.score(one, other) > 0) == (one != other and "unknown" not in {one, other})


def test_it_is_made_once_for_the_same_facts() -> None:
    """Another report of the same GPUs has the very same topology, whatever their health; one of other links has not."""
    facts = ((0, 1), (1, 0))
    first = matrix(Report(gpus("a", "b"), links=facts), {"a": 0})
    broken = (Gpu(index=0, uuid="a", problem="lost"), Gpu(index=1, uuid="b"))
    assert matrix(Report(broken, links=((0, 1), (1, 0))), {"a": 0}) is first
    assert matrix(Report(gpus("a", "b"), links=((0, 2), (2, 0))), {"a": 0}) is not first
    assert matrix(Report(gpus("a", "b"), links=facts), {"a": 1}) is not first


def test_sysfs_comes_before_nvml(tmp_path: Path) -> None:
    """-1 is no node; where sysfs does not know, NVML's word counts, and without any the GPU has none."""
    host = FakeHost(tmp_path)
    for address, node in {"0000:01:00.0": "1", "0000:02:00.0": "-1", "0000:03:00.0": "-1"}.items():
        place(host, address, node)
    report = Report(
        (
            Gpu(index=0, uuid="sysfs", pci="0000:01:00.0", numa_node=7),
            Gpu(index=1, uuid="nvml", pci="0000:02:00.0", numa_node=2),
            Gpu(index=2, uuid="nobody", pci="0000:03:00.0", numa_node=-1),
            Gpu(index=3, uuid="absent", pci="0000:05:00.0"),
            Gpu(index=4, uuid="nowhere", numa_node=3),
        )
    )
    found = numa_nodes(report, HostView(host.host))
    assert found == {"sysfs": 1, "nvml": 2, "nowhere": 3}


def test_a_simulated_gpu_has_no_place_in_sysfs(tmp_path: Path) -> None:
    """What really sits at its address says nothing about it."""
    host = FakeHost(tmp_path)
    place(host, "0000:01:00.0", "1")
    gpu = Gpu(index=0, uuid="a", pci="0000:01:00.0", numa_node=0)
    assert numa_nodes(Report((gpu,)), HostView(host.host)) == {"a": 1}
    assert numa_nodes(Report((gpu,), source="simulated"), HostView(host.host)) == {"a": 0}

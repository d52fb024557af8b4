"""From what happens to RDMA devices to the kubelet's list: the real program with the InfiniBand plugin, in a bed."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from msgspec import structs

from supervisor_infiniband.simulate import changes
from supervisor_infiniband.simulate.cards import guid
from supervisor_infiniband.simulate.layouts import layout
from supervisor_infiniband.simulate.machine import Machine
from tests.bed.infiniband import Fabric
from tests.bed.program import PATIENCE
from tests.bed.served import NEVER, Served, wait_until
from tests.plugins.infiniband import trees

pytestmark = pytest.mark.requires("libudev", "patience")

FIRST, SECOND = "0000:3b:00.0", "0000:3b:00.1"
DUAL = layout("dual-port-infiniband")
Offered = Callable[..., Fabric]


@pytest.fixture
def offered(served: Served) -> Offered:
    """Puts a machine into the bed and configures its devices: VFs as ``vf``, all others as ``hca``."""

    def offer(machine: Machine, **section: Any) -> Fabric:
        fabric = Fabric(served.bed, machine)
        pools: list[Mapping[str, Any]] = [
            {"name": "bed.example/vf", "match": [{"kind": ["vf"]}]},
            {"name": "bed.example/hca", "match": [{"not": [{"kind": ["vf"]}]}]},
        ]
        whole = {"lookInterval": NEVER, "poll": 0.2, "health": {"holdDown": 0}, "resources": pools} | section
        served.configure([], plugins={"infiniband": whole})
        return fabric

    return offer


def nodes(served: Served, pod: str, resource: str = "hca", count: int = 1) -> list[str]:
    """The device nodes that a pod with devices of a resource gets; the pod is gone again then."""
    admitted = served.kubelet.add_pod(pod, {f"bed.example/{resource}": count})
    assert admitted.admitted, admitted
    served.kubelet.delete_pod(pod)
    return sorted(node.host_path for node in admitted.containers["main"].options.devices)


def healthy(served: Served) -> set[str]:
    """The ids that the kubelet may give to containers."""
    return {name for name, health in served.kubelet.devices("bed.example/hca").items() if health == "Healthy"}


def port_changes(served: Served) -> dict[str, int]:
    """How often the port of each device was seen in another state, by the metrics."""
    found = re.findall(r'port_changes_total\{.*device="([^"]+)".*\} ([0-9]+)', served.fetch("/metrics"))
    return {name: int(count) for name, count in found}


def wait_port_changes(served: Served, changed: int) -> None:
    """Wait until the port of the first device was seen in so many other states, and that of the second in none."""
    wait_until(lambda: port_changes(served) == {FIRST: changed, SECOND: 0}, f"change {changed} of a port")


def wait_healthy(served: Served, ids: set[str], what: str) -> None:
    """Wait until exactly these may be given."""
    served.kubelet.wait_for(lambda: healthy(served) == ids, PATIENCE, what)


def nowhere(machine: Machine, word: str) -> Machine:
    """A moment in which a device is in no network namespace: its function is there, with its driver."""
    function, _ = machine.find(word)
    return machine.with_function(structs.replace(function, hcas=(), interfaces=()))


def elsewhere(served: Served) -> set[str]:
    """The ids of the devices that are in another network namespace, by the metrics."""
    return set(re.findall(r'device_elsewhere\{.*device="([^"]+)".*\} 1', served.fetch("/metrics")))


@pytest.mark.parametrize(("name", "count"), [("roce-16-vfs", 16), ("infiniband-8-vfs-without-guid", 8)])
def test_virtual_functions_that_nobody_has_prepared_are_healthy(
    name: str, count: int, served: Served, offered: Offered
) -> None:
    """A CNI plugin brings their interfaces up and gives them GUIDs once a pod has them."""
    offered(trees.MACHINES[name]())
    with served.running():
        served.wait_healths("vf", *["Healthy"] * count)


def test_virtual_functions_come_and_go(served: Served, offered: Offered) -> None:
    """Made while the supervisor runs, they are listed and can be had; destroyed, they are Unhealthy, and their PF notices nothing."""
    fabric = offered(DUAL)
    with served.running():
        functions = served.wait_healths("hca", "Healthy", "Healthy")
        served.settled("infiniband")
        fabric.become(changes.with_vfs(fabric.machine, "mlx5_0", 4))
        vfs = served.wait_healths("vf", *["Healthy"] * 4)
        assert set(vfs) == {f"0000:3b:00.{number}" for number in range(2, 6)}
        assert nodes(served, "one", "vf", 4) == [
            "/dev/infiniband/rdma_cm",
            *(f"/dev/infiniband/uverbs{at}" for at in range(2, 6)),
        ]
        fabric.become(changes.with_vfs(fabric.machine, "mlx5_0", 0))
        assert served.wait_healths("vf", *["Unhealthy"] * 4).keys() == vfs.keys()
        assert served.kubelet.devices("bed.example/hca") == functions
        assert 'subsystem="infiniband"' in served.fetch("/metrics")


def test_a_driver_is_loaded_anew(served: Served, offered: Offered) -> None:
    """A burst of events, after which the same devices are there under other numbers: the same ids, with the nodes of now."""
    fabric = offered(DUAL)
    with served.running():
        before = served.wait_healths("hca", "Healthy", "Healthy")
        served.settled("infiniband")
        fabric.become(structs.replace(fabric.machine, functions=()))
        served.wait_healths("hca", "Unhealthy", "Unhealthy")
        for word in (SECOND, FIRST):
            fabric.become(changes.restored(fabric.machine, word, DUAL))
        assert served.wait_healths("hca", "Healthy", "Healthy") == before
        assert fabric.machine.find(SECOND)[1].uverbs == 0
        pod = served.kubelet.add_pod("first", {"bed.example/hca": 1})
        (got,) = pod.device_ids
        (uverbs,) = {node.host_path for node in pod.containers["main"].options.devices} - {"/dev/infiniband/rdma_cm"}
        assert uverbs == f"/dev/infiniband/uverbs{fabric.machine.find(got)[1].uverbs}"


def test_a_name_is_not_an_id(served: Served, offered: Offered) -> None:
    """Renamed by udev's rules after it has come, a device has the same id, and containers are told its new name."""
    fabric = offered(DUAL)
    with served.running():
        before = served.wait_healths("hca", "Healthy", "Healthy")
        looks = served.settled("infiniband")
        since = served.kubelet.events.position
        fabric.rename("mlx5_0", "ibp59s0f0")
        fabric.rename("mlx5_1", "ibp59s0f1")
        served.wait_looks(looks + 1, "infiniband")
        pod = served.kubelet.add_pod("both", {"bed.example/hca": 2})
        assert pod.containers["main"].options.envs["RDMA_DEVICES"] == "ibp59s0f0,ibp59s0f1"
        assert served.kubelet.devices("bed.example/hca") == before
        assert served.lists("hca", since) == 0


def test_modules_are_loaded_one_by_one(served: Served, offered: Offered) -> None:
    """Without the core there are no devices; without ``ib_uverbs`` nobody can use them, and they say so."""
    fabric = offered(trees.without_core())
    with served.running():
        served.wait_registered("hca")
        assert served.healths("hca") == []
        served.settled("infiniband")
        fabric.become(trees.without_uverbs())
        served.wait_healths("hca", "Unhealthy", "Unhealthy")
        wait_until(lambda: "UverbsMissing" in served.fetch("/status"), "UverbsMissing")
        fabric.become(trees.without_umad())
        served.wait_healths("hca", "Healthy", "Healthy")
        looks = served.looks("infiniband")
        fabric.become(DUAL)
        served.wait_looks(looks + 1, "infiniband")
        assert served.healths("hca") == ["Healthy", "Healthy"]


def test_a_device_in_a_container_stays_listed(served: Served, offered: Offered) -> None:
    """In RDMA mode ``exclusive`` a device moves into a pod and back; the kubelet hears nothing of that, nobody else gets it."""
    fabric = offered(structs.replace(DUAL, netns_mode="exclusive"))
    with served.running():
        before = served.wait_healths("hca", "Healthy", "Healthy")
        served.settled("infiniband")
        since = served.kubelet.events.position
        (held,) = served.kubelet.add_pod("holder", {"bed.example/hca": 1}).device_ids
        here = fabric.machine
        looks = served.looks("infiniband")
        fabric.become(nowhere(fabric.machine, held))
        served.wait_looks(looks + 1, "infiniband")
        fabric.become(changes.moved(here, held, away=True))
        wait_until(lambda: elsewhere(served) == {held}, "device that has moved away")
        assert served.kubelet.add_pod("other", {"bed.example/hca": 1}).device_ids == [
            other for other in before if other != held
        ]
        served.kubelet.delete_pod("holder")
        refused = served.kubelet.add_pod("late", {"bed.example/hca": 1})
        assert not refused.admitted
        assert "in use in another network namespace" in str(refused)
        fabric.become(changes.moved(fabric.machine, held, away=False))
        wait_until(lambda: not elsewhere(served), "device that has come back")
        assert served.kubelet.add_pod("next", {"bed.example/hca": 1}).device_ids == [held]
        assert served.kubelet.devices("bed.example/hca") == before
        assert served.lists("hca", since) == 0


def test_a_device_that_was_away_at_the_start_is_offered(served: Served, offered: Offered) -> None:
    """A supervisor that starts while a pod has a device counts it all the same, and again after another restart."""
    fabric = offered(trees.exclusive_away())
    for _ in range(2):
        with served.running():
            served.wait_healths("hca", "Healthy", "Healthy")
            wait_until(lambda: elsewhere(served) == {SECOND}, "device that is away")
    with served.running():
        served.wait_healths("hca", "Healthy", "Healthy")
        fabric.become(changes.moved(fabric.machine, SECOND, away=False))
        wait_until(lambda: not elsewhere(served), "device that has come back")
        assert nodes(served, "both", count=2)[1:] == ["/dev/infiniband/uverbs0", "/dev/infiniband/uverbs1"]


SORTS = {
    "bond": {FIRST},
    "sub-function": {FIRST, "mlx5_core.sf.4"},
    "connectx-8": {FIRST},
    "iwarp": {"0000:19:00.4"},
    "efa": {"0000:00:1d.0"},
    "soft-roce": {"guid-000000fffe000007"},
    "two-ports-one-function": {FIRST},
    "two-end-points": {f"{FIRST}-{guid(FIRST, offset).replace(':', '')}" for offset in (0, 2)},
    "odd-names": {FIRST, "0000:5e:00.0", "0000:af:00.0"},
    "rails-8": {function.id for function in layout("rails-8").functions},
}
"""The ids of what some machines offer."""


def test_devices_of_every_sort(served: Served, offered: Offered) -> None:
    """One machine after the other in the same bed: what can be had is always exactly what is there now."""
    fabric = offered(trees.nothing())
    with served.running():
        served.wait_registered("hca")
        for name, ids in SORTS.items():
            fabric.become(trees.MACHINES[name]())
            wait_healthy(served, ids, name)
        fabric.become(trees.nothing())
        wait_healthy(served, set(), "nothing")


def test_a_port_flaps(served: Served, offered: Offered) -> None:
    """No event tells of a port: a poll finds that it is down, and that it has come back."""
    fabric = offered(DUAL)
    with served.running():
        served.wait_healths("hca", "Healthy", "Healthy")
        for _ in range(2):
            fabric.become(changes.port(fabric.machine, "mlx5_0", 1, "down"))
            assert served.wait_healths("hca", "Healthy", "Unhealthy")[FIRST] == "Unhealthy"
            fabric.become(changes.port(fabric.machine, "mlx5_0", 1, "up"))
            served.wait_healths("hca", "Healthy", "Healthy")


def test_a_short_flap_is_counted_and_not_told(served: Served, offered: Offered) -> None:
    """Within the hold-down the kubelet hears nothing of a port that is down; the metrics do."""
    fabric = offered(DUAL, health={"holdDown": 3600})
    with served.running():
        before = served.wait_healths("hca", "Healthy", "Healthy")
        served.settled("infiniband")
        since = served.kubelet.events.position
        for changed, state in enumerate(("down", "up"), start=1):
            fabric.become(changes.port(fabric.machine, "mlx5_0", 1, state))
            wait_port_changes(served, changed)
        assert served.kubelet.devices("bed.example/hca") == before
        assert served.lists("hca", since) == 0


def test_a_device_that_hangs_delays_no_other(served: Served, offered: Offered) -> None:
    """While the firmware of one does not answer, the state of the other is known as ever; then both are well."""
    fabric = offered(DUAL)
    with served.running():
        served.wait_healths("hca", "Healthy", "Healthy")
        fabric.become(changes.hanging(fabric.machine, "mlx5_0", hangs=True))
        assert served.wait_healths("hca", "Healthy", "Unhealthy")[FIRST] == "Unhealthy"
        fabric.become(changes.port(fabric.machine, "mlx5_1", 1, "down"))
        served.wait_healths("hca", "Unhealthy", "Unhealthy")
        fabric.become(changes.port(fabric.machine, "mlx5_1", 1, "up"))
        assert served.wait_healths("hca", "Healthy", "Unhealthy")[SECOND] == "Healthy"
        fabric.become(changes.hanging(fabric.machine, "mlx5_0", hangs=False))
        served.wait_healths("hca", "Healthy", "Healthy")


def test_one_broken_device_costs_nobody_else(served: Served, offered: Offered) -> None:
    """Whatever is wrong with the first device, the second stays, and can be had."""
    fabric = offered(DUAL)
    with served.running():
        served.wait_healths("hca", "Healthy", "Healthy")
        served.settled("infiniband")
        for name, broken in trees.BROKEN.items():
            looks = served.looks("infiniband")
            fabric.become(broken())
            function, well = fabric.machine.find("mlx5_1")
            served.bed.emit("change", f"/{function.path}/infiniband/{well.name}")
            served.wait_looks(looks + 1, "infiniband")
            assert SECOND in healthy(served), name
            assert f"/dev/infiniband/uverbs{well.uverbs}" in nodes(served, name, count=len(healthy(served)))
        fabric.become(DUAL)
        served.wait_healths("hca", "Healthy", "Healthy")

"""From what happens to FPGAs to the kubelet's list: the real program with the FPGA plugin, in a bed."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from msgspec import structs

from supervisor_fpga.simulate import changes
from supervisor_fpga.simulate.intel import NLB0, NLB3, Card, dfl_machine
from supervisor_fpga.simulate.machine import Machine
from tests.bed.fpga import Cards
from tests.bed.program import PATIENCE
from tests.bed.served import NEVER, Served, wait_until
from tests.plugins.fpga import machines
from tests.plugins.fpga.machines import CARD, SECOND, VF

pytestmark = pytest.mark.requires("libudev")

TWO = machines.dfl_two_cards()
Offered = Callable[..., Cards]


@pytest.fixture
def offered(served: Served) -> Offered:
    """Puts a machine into the bed and configures its functions: VFs as ``vf``, all others as ``fpga``."""

    def offer(machine: Machine, **section: Any) -> Cards:
        cards = Cards(served.bed, machine)
        rules: list[Mapping[str, Any]] = [
            {"name": "bed.example/vf", "match": [{"kind": ["vf"]}]},
            {"name": "bed.example/fpga"},
        ]
        whole = {
            "lookInterval": NEVER,
            "poll": 1,
            "health": {"holdDown": 0},
            "resources": rules,
            "vfio": [{"vendor": "8086", "device": "bccf"}],
            "declared": [{"name": "acme", "subsystem": "acme"}],
        }
        served.configure([], plugins={"fpga": whole | section})
        return cards

    return offer


def nodes(served: Served, pod: str, count: int = 1) -> list[str]:
    """The device nodes that a pod with so many functions gets; the pod is gone again then."""
    admitted = served.kubelet.add_pod(pod, {"bed.example/fpga": count})
    assert admitted.admitted, admitted
    served.kubelet.delete_pod(pod)
    return sorted(node.host_path for node in admitted.containers["main"].options.devices)


def healthy(served: Served) -> set[str]:
    """The ids that the kubelet may give to containers."""
    return {name for name, health in served.kubelet.devices("bed.example/fpga").items() if health == "Healthy"}


def wait_healthy(served: Served, ids: set[str], what: str) -> None:
    """Wait until exactly these may be given."""
    served.kubelet.wait_for(lambda: healthy(served) == ids, PATIENCE, what)


def programs(served: Served) -> dict[str, str]:
    """What is programmed in each function, by the metrics."""
    found = re.findall(r"(?m)^\S*_function_info\{(.*)\} 1", served.fetch("/metrics"))
    labels = [dict(re.findall(r'(\w+)="([^"]*)"', line)) for line in found]
    return {one["device"]: one["afu_id"] for one in labels}


def test_a_card_goes_and_comes(served: Served, offered: Offered) -> None:
    """Pulled and plugged in again it has the same id; the other one notices nothing."""
    cards = offered(TWO)
    with served.running():
        before = served.wait_healths("fpga", "Healthy", "Healthy")
        assert set(before) == {CARD, SECOND}
        served.settled("fpga")
        cards.become(TWO.without(CARD))
        assert served.wait_healths("fpga", "Healthy", "Unhealthy")[SECOND] == "Healthy"
        assert nodes(served, "one") == ["/dev/dfl-port.1"]
        cards.become(TWO)
        assert served.wait_healths("fpga", "Healthy", "Healthy") == before


def test_a_driver_is_loaded_anew(served: Served, offered: Offered) -> None:
    """A burst of events, after which the cards are there under other numbers: the same ids, with the nodes of now."""
    cards = offered(TWO)
    with served.running():
        before = served.wait_healths("fpga", "Healthy", "Healthy")
        served.settled("fpga")
        cards.become(structs.replace(TWO, functions=()))
        served.wait_healths("fpga", "Unhealthy", "Unhealthy")
        cards.become(dfl_machine((Card(SECOND, afus=(NLB3,), numa_node=1), Card(CARD))))
        assert served.wait_healths("fpga", "Healthy", "Healthy") == before
        pod = served.kubelet.add_pod("first", {"bed.example/fpga": 1})
        (node,) = pod.containers["main"].options.devices
        assert node.host_path == {CARD: "/dev/dfl-port.1", SECOND: "/dev/dfl-port.0"}[pod.device_ids[0]]


def test_drivers_come_after_the_supervisor(served: Served, offered: Offered) -> None:
    """A card that nothing drives is no error: it is waited for, and offered when its driver has it."""
    cards = offered(machines.dfl_no_driver())
    with served.running():
        served.wait_registered("fpga")
        assert served.healths("fpga") == []
        served.settled("fpga")
        cards.become(machines.dfl_a10())
        assert set(served.wait_healths("fpga", "Healthy")) == {CARD}
        assert nodes(served, "one") == ["/dev/dfl-port.0"]


def test_a_port_goes_to_a_virtual_function(served: Served, offered: Offered) -> None:
    """The physical function's port is not there any more, the VF with it is; and back."""
    cards = offered(machines.dfl_a10())
    with served.running():
        served.wait_healths("fpga", "Healthy")
        served.settled("fpga")
        cards.become(machines.dfl_released_port())
        served.wait_healths("fpga", "Unhealthy")
        cards.become(machines.dfl_vf_of_card())
        assert set(served.wait_healths("vf", "Healthy")) == {VF}
        cards.become(machines.dfl_a10())
        served.wait_healths("vf", "Unhealthy")
        served.wait_healths("fpga", "Healthy")


def test_reprogramming_has_no_event(served: Served, offered: Offered) -> None:
    """Another accelerator in a function is found by a poll; the kubelet hears nothing of it."""
    cards = offered(TWO)
    with served.running():
        before = served.wait_healths("fpga", "Healthy", "Healthy")
        wait_until(lambda: programs(served) == {CARD: NLB0, SECOND: NLB3}, "program of each function")
        served.settled("fpga")
        since = served.kubelet.events.position
        cards.change(changes.programmed(cards.machine, CARD, NLB3))
        wait_until(lambda: programs(served) == {CARD: NLB3, SECOND: NLB3}, "another program")
        assert served.kubelet.devices("bed.example/fpga") == before
        assert served.lists("fpga", since) == 0


def test_errors_come_and_go(served: Served, offered: Offered) -> None:
    """A register that says that the card is broken makes its function Unhealthy until it is 0 again."""
    cards = offered(TWO)
    with served.running():
        served.wait_healths("fpga", "Healthy", "Healthy")
        cards.change(changes.failing(cards.machine, CARD, "fme/catfatal_errors", 2))
        assert served.wait_healths("fpga", "Healthy", "Unhealthy")[SECOND] == "Healthy"
        cards.change(changes.cleared(cards.machine, CARD))
        served.wait_healths("fpga", "Healthy", "Healthy")


def test_a_card_that_hangs_delays_no_other(served: Served, offered: Offered) -> None:
    """While one does not answer, the state of the other is known as ever; then both are well."""
    cards = offered(TWO)
    with served.running():
        served.wait_healths("fpga", "Healthy", "Healthy")
        cards.change(changes.hanging(cards.machine, CARD, hangs=True))
        assert served.wait_healths("fpga", "Healthy", "Unhealthy")[CARD] == "Unhealthy"
        cards.change(changes.hot(cards.machine, SECOND, 110))
        served.wait_healths("fpga", "Unhealthy", "Unhealthy")
        cards.change(changes.cleared(cards.machine, SECOND))
        assert served.wait_healths("fpga", "Healthy", "Unhealthy")[SECOND] == "Healthy"
        cards.change(changes.hanging(cards.machine, CARD, hangs=False))
        served.wait_healths("fpga", "Healthy", "Healthy")


SORTS = {
    "dfl_two_ports": {f"{CARD}/port0", f"{CARD}/port1"},
    "opae_tree": {CARD},
    "kria": {"fpga0"},
    "u250": {"0000:65:00.1"},
    "u30": {"0000:b3:00.1", "0000:b4:00.1"},
    "ma35d": {"0000:c1:00.0", "0000:c2:00.0"},
    "declared_card": {"0000:17:00.0"},
    "everything": {CARD, SECOND, "fpga4", "0000:65:00.1", "0000:c1:00.0", "0000:c2:00.0", "0000:17:00.0", "0000:5e:00.1"},
}
"""The ids of what some machines offer."""


def test_cards_of_every_sort(served: Served, offered: Offered) -> None:
    """One machine after the other in the same bed: what can be had is always exactly what is there now."""
    cards = offered(Machine())
    with served.running():
        served.wait_registered("fpga")
        for name, ids in SORTS.items():
            cards.become(machines.MACHINES[name]())
            wait_healthy(served, ids, name)
        cards.become(Machine())
        wait_healthy(served, set(), "nothing")


def test_one_broken_card_costs_nobody_else(served: Served, offered: Offered) -> None:
    """Whatever is wrong with the first card, the second stays, and can be had."""
    cards = offered(TWO)
    broken = [name for name in machines.MACHINES if _ids(name) == [CARD, SECOND]]
    with served.running():
        served.wait_healths("fpga", "Healthy", "Healthy")
        served.settled("fpga")
        for name in broken:
            looks = served.looks("fpga")
            cards.become(machines.MACHINES[name]())
            served.bed.emit("change", f"/devices/{cards.machine.find(CARD).path}")
            served.wait_looks(looks + 1, "fpga")
            assert SECOND in healthy(served), name
            assert "/dev/dfl-port.1" in nodes(served, name.replace("_", "-"), len(healthy(served)))
        cards.become(TWO)
        served.wait_healths("fpga", "Healthy", "Healthy")


def _ids(name: str) -> list[str]:
    """The functions of a machine of DFL."""
    return [one.id for one in machines.MACHINES[name]().functions] if name.startswith("dfl_") else []

"""The metrics of RDMA devices: what is exposed, in which units, and what is left out because nobody knows it."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from msgspec.structs import replace

from supervisor import MetricFamily
from supervisor.families import MOST_FAMILIES, MOST_SAMPLES, check_families
from supervisor_infiniband.config import InfinibandConfig
from supervisor_infiniband.health import Monitor
from supervisor_infiniband.metrics import PORT_COUNTERS, families
from supervisor_infiniband.report import Change, Counters, Link, PciLink, PhysState, Poll, PortState, RdmaDevice, Report
from supervisor_infiniband.rules import offer
from tests.plugins.infiniband.functions import DOWN, pf, port, vf

NODES = frozenset(f"uverbs{number}" for number in range(2_000))
CONFIG = InfinibandConfig()


def collected(*devices: RdmaDevice, polls: tuple[Poll, ...] = (), restarts: int = 0) -> dict[str, MetricFamily]:
    """All families after a look at these devices and after polls, by name."""
    report = Report(devices, "exclusive", NODES, refused={"smi1": "it is no end point"})
    offered = offer(report, CONFIG)
    monitor = Monitor(CONFIG)
    monitor.look(report, 0.0)
    for number, poll in enumerate(polls):
        monitor.poll(poll, 15.0 * number)
    found = families(
        report,
        offered,
        lambda unit: monitor.verdict(unit, CONFIG.judgement_of(unit.pool), 20.0),
        monitor.readings(),
        monitor.counts(),
        restarts=restarts,
    )
    return {family.name: family for family in found}


def values(family: MetricFamily, *labels: str) -> dict[tuple[str, ...], float]:
    """The samples by some of their labels."""
    return {tuple(sample.labels[label] for label in labels): sample.value for sample in family.samples}


def test_all_families_can_be_exposed() -> None:
    """By the supervisor's own check; names are unique, and all are there without any device."""
    full = collected(pf(), vf(0), polls=(Poll(counters=(Counters(pf().id, 1, dict.fromkeys(PORT_COUNTERS, 1), {"a": 1}),)),))
    for found in (full, collected()):
        assert check_families("infiniband", found.values()) == (tuple(found.values()), ())
        assert found.keys() == full.keys()


def test_a_large_node_stays_within_the_bounds() -> None:
    """Eight cards with sixteen VFs each, with all counters that there are."""
    devices = [pf(number % 8, id=f"0000:{number:02x}:00.0") for number in range(136)]
    hw_values = {f"counter_{number}": number for number in range(8)}
    counters = tuple(Counters(each.id, 1, dict.fromkeys(PORT_COUNTERS, 1), hw_values) for each in devices)
    found = collected(*devices, polls=(Poll(counters=counters),))
    assert len(found) <= MOST_FAMILIES
    assert sum(len(family.samples) for family in found.values()) <= MOST_SAMPLES


def test_ports_as_they_are_now() -> None:
    """State and rate follow the polls; the rate of a port that is down is a guess of its driver, so it is not told."""
    device = pf(ports=(port(1), port(2, link=DOWN)))
    found = collected(device)
    assert values(found["port_active"], "device", "port") == {(device.id, "1"): 1, (device.id, "2"): 0}
    assert values(found["port_rate_bits_per_second"], "name", "port") == {("mlx5_0", "1"): 200e9}
    assert values(found["port"], "port", "link_layer", "state", "phys_state") == {
        ("1", "InfiniBand", "ACTIVE", "LINK_UP"): 1,
        ("2", "InfiniBand", "DOWN", "POLLING"): 1,
    }
    init = Link(PortState.INIT, PhysState.LINK_UP)
    found = collected(device, polls=(Poll((Change(device.id, 1, init),)),))
    assert values(found["port_active"], "port") == {("1",): 0, ("2",): 0}
    assert values(found["port"], "port", "state") == {("1", "INIT"): 1, ("2", "DOWN"): 1}
    assert found["port_rate_bits_per_second"].samples == ()
    assert values(found["port_changes"], "port") == {("1",): 1, ("2",): 0}


def test_what_nobody_knows_is_left_out() -> None:
    """Ports of a device that hangs, is elsewhere, or makes no sense are neither up nor down; the device is told all the same."""
    away, hung, odd = pf(0, elsewhere=True), pf(1, unresponsive=True), pf(2, problem="garbage")
    found = collected(away, hung, odd, pf(3))
    assert values(found["port_active"], "device") == {(pf(3).id,): 1}
    assert values(found["device_elsewhere"], "device") == {(each.id,): float(each is away) for each in (away, hung, odd, pf(3))}
    assert values(found["device_quarantined"], "device") == {
        (each.id,): float(each is odd) for each in (away, hung, odd, pf(3))
    }
    found = collected(pf(), polls=(Poll((Change(pf().id, 0, None),)),))
    assert found["port_active"].samples == ()


def test_counters() -> None:
    """Under their own names, those of drivers under one; the port of a counter of the whole device is empty."""
    device = pf()
    polls = (
        Poll(
            counters=(
                Counters(device.id, 1, {"port_rcv_data": 4_096, "link_downed": 3, "unheard_of": 1}, {"out_of_buffer": 7}),
            )
        ),
        Poll(counters=(Counters(device.id, 0, {"aer_dev_fatal": 1, "aer_dev_nonfatal": 0}, {"roce_adp_retrans": 9}),)),
        Poll(counters=(Counters("0000:99:00.0", 1, {"link_downed": 1}),)),
    )
    found = collected(device, polls=polls)
    assert values(found["port_receive_bytes"], "device", "name", "port") == {(device.id, "mlx5_0", "1"): 4_096}
    assert values(found["port_link_downed"], "device", "port") == {(device.id, "1"): 3}
    assert found["port_symbol_errors"].samples == ()
    assert values(found["pcie_errors"], "device", "name", "severity") == {
        (device.id, "mlx5_0", "fatal"): 1,
        (device.id, "mlx5_0", "nonfatal"): 0,
    }
    assert values(found["hw_counter"], "port", "counter") == {("", "roce_adp_retrans"): 9, ("1", "out_of_buffer"): 7}
    assert all(found[f"port_{name}"].kind == "counter" for name, _ in PORT_COUNTERS.values())


def test_counters_that_cannot_be_are_left_out() -> None:
    """One negative number must not cost the scrape."""
    found = collected(pf(), polls=(Poll(counters=(Counters(pf().id, 1, {"link_downed": -1}, {"out_of_buffer": -1}),)),))
    assert found["port_link_downed"].samples == found["hw_counter"].samples == ()


def test_what_is_known_of_a_device() -> None:
    """Also which resource has it, if any has."""
    found = collected(vf(0), pf(problem="garbage"))
    labels = {sample.labels["device"]: sample.labels for sample in found["device"].samples}
    assert labels[vf(0).id] == {
        "device": "0000:3b:01.0",
        "name": "mlx5_8",
        "kind": "vf",
        "pf": "0000:3b:00.0",
        "pci": "0000:3b:01.0",
        "numa_node": "0",
        "driver": "mlx5_core",
        "firmware": "20.31.1014",
        "board": "",
        "node_guid": vf(0).node_guid,
        "resource": "rdma/vf",
    }
    assert labels[pf().id]["resource"] == ""


def test_long_texts_of_devices_are_cut() -> None:
    """The kernel gives what the firmware says."""
    found = collected(pf(firmware="x" * 5_000, name="y" * 5_000))
    assert check_families("infiniband", found.values())[1] == ()


def test_degraded_devices() -> None:
    """Each kind is there from the start, at zero."""
    slow = replace(pf(), pci_link=PciLink(8.0, 16.0, 8, 16))
    polls = tuple(Poll(counters=(Counters(pf(1).id, 1, {"symbol_error": 200 * number}),)) for number in range(2))
    found = collected(slow, pf(1), polls=polls)
    assert values(found["device_degraded"], "resource", "device", "reason") == {
        ("rdma/hca", pf().id, "PcieDegraded"): 1,
        ("rdma/hca", pf().id, "ErrorRate"): 0,
        ("rdma/hca", pf(1).id, "PcieDegraded"): 0,
        ("rdma/hca", pf(1).id, "ErrorRate"): 1,
    }


def test_the_node_and_the_process() -> None:
    """The mode of its network namespaces, what cannot be offered, and how often the process that reads was replaced."""
    found = collected(pf(), polls=(Poll(), Poll()), restarts=3)
    assert values(found["netns_mode"], "mode") == {("exclusive",): 1}
    assert values(found["refused"]) == {(): 1}
    assert values(found["sysfs_restarts"]) == {(): 3}
    assert values(found["polls"]) == {(): 2}


@contextmanager
def memlock(soft: int) -> Iterator[None]:
    """This process with another soft limit."""
    before = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, before)


def test_the_memory_that_may_be_pinned() -> None:
    """In bytes where there is a limit; no number stands for none."""
    with memlock(65_536):
        found = collected()
    assert values(found["memlock_limit_bytes"]) == {(): 65_536}
    assert values(found["memlock_unlimited"]) == {(): 0}
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[1] == resource.RLIM_INFINITY:
        with memlock(resource.RLIM_INFINITY):
            found = collected()
        assert found["memlock_limit_bytes"].samples == ()
        assert values(found["memlock_unlimited"]) == {(): 1}


def test_families_are_plain_values() -> None:
    """They travel to the thread that exposes them, or from another process."""
    found = collected(pf())
    assert msgspec.msgpack.decode(msgspec.msgpack.encode([*found.values()]), type=list[MetricFamily]) == [*found.values()]

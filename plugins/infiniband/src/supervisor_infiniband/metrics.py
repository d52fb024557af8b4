"""The metrics of one look and of the polls since. Names and units are Prometheus'; the supervisor puts ``device_plugin_infiniband_``
before them.

What is not known now has no sample: the port of a device that hangs, or that is in another network namespace, is neither up nor down.
"""

import resource
from collections.abc import Callable, Iterator, Mapping

from supervisor import MetricFamily, Sample
from supervisor_infiniband.health import Counts, Readings, Verdict
from supervisor_infiniband.health.policy import DEGRADATIONS
from supervisor_infiniband.report import Link, Port, RdmaDevice, Report
from supervisor_infiniband.units import Offer, Unit

GIGABIT = 1e9
_LONGEST_LABEL = 256

PORT_COUNTERS: Mapping[str, tuple[str, str]] = {
    "port_rcv_data": ("receive_bytes", "Octets received"),
    "port_xmit_data": ("transmit_bytes", "Octets sent"),
    "port_rcv_packets": ("receive_packets", "Packets received"),
    "port_xmit_packets": ("transmit_packets", "Packets sent"),
    "link_downed": ("link_downed", "How often the link went down"),
    "link_error_recovery": ("link_error_recoveries", "How often the link recovered from errors by training anew"),
    "symbol_error": ("symbol_errors", "Minor link errors on a lane"),
    "local_link_integrity_errors": ("local_link_integrity_errors", "How often local physical errors were too many"),
    "excessive_buffer_overrun_errors": ("excessive_buffer_overrun_errors", "How often buffers overran again and again"),
    "port_rcv_errors": ("receive_errors", "Packets received with an error"),
    "port_rcv_remote_physical_errors": ("receive_remote_physical_errors", "Packets received that were marked bad on their way"),
    "port_rcv_constraint_errors": ("receive_constraint_errors", "Packets received that are not allowed here"),
    "port_rcv_switch_relay_errors": ("receive_switch_relay_errors", "Packets received that could not be forwarded"),
    "port_xmit_constraint_errors": ("transmit_constraint_errors", "Packets not sent since they are not allowed"),
    "port_xmit_discards": ("transmit_discards", "Packets not sent since the port was down or congested"),
    "port_xmit_wait": ("transmit_waits", "Ticks in which data waited to be sent"),
    "VL15_dropped": ("vl15_dropped", "Management packets dropped for want of room"),
}
"""The kernel's file names (``Documentation/ABI/stable/sysfs-class-infiniband``), and ours."""

PCIE_COUNTERS: Mapping[str, str] = {
    "aer_dev_correctable": "correctable",
    "aer_dev_nonfatal": "nonfatal",
    "aer_dev_fatal": "fatal",
}
"""The kernel's file names (``Documentation/ABI/testing/sysfs-bus-pci-devices-aer_stats``), and our words."""


def families(
    report: Report, offer: Offer, judge: Callable[[Unit], Verdict], readings: Readings, counts: Counts, *, restarts: int
) -> Iterator[MetricFamily]:
    """All families; ``restarts`` counts processes that read sysfs in place of another."""
    yield from _devices(report, offer)
    yield from _ports(report, readings)
    yield from _counters(report, readings)
    yield MetricFamily(
        "device_degraded",
        "Whether a device is offered though something about it is worse than it could be, or Unhealthy for it where so configured.",
        samples=tuple(
            Sample({"resource": unit.resource, "device": unit.id, "reason": reason}, float(reason in degraded))
            for unit in offer.units
            for degraded in (judge(unit).degraded,)
            for reason in DEGRADATIONS
        ),
    )
    yield MetricFamily(
        "port_changes",
        "How often a port was seen in another state than before, however short.",
        "counter",
        tuple(
            Sample({**_of(device), "port": str(port.number)}, counts.changes.get((device.id, port.number), 0))
            for device, port in _each(report)
        ),
    )
    yield from _process(report, counts, restarts)


def _devices(report: Report, offer: Offer) -> Iterator[MetricFamily]:
    yield MetricFamily(
        "device", "What is known of an RDMA device.", "info", tuple(Sample(_facts(each, offer), 1) for each in report.devices)
    )
    yield MetricFamily(
        "device_elsewhere",
        "Whether a device is in another network namespace, in use there.",
        samples=tuple(Sample(_of(device), float(device.elsewhere)) for device in report.devices),
    )
    yield MetricFamily(
        "device_quarantined",
        "Whether what was read of a device makes no sense.",
        samples=tuple(Sample(_of(device), float(bool(device.problem))) for device in report.devices),
    )


def _of(device: RdmaDevice) -> dict[str, str]:
    return {"device": device.id, "name": _cut(device.name)}


def _cut(text: str) -> str:
    return text[:_LONGEST_LABEL]


def _facts(device: RdmaDevice, offer: Offer) -> dict[str, str]:
    return {
        **_of(device),
        "kind": device.kind,
        "pf": device.pf,
        "pci": device.pci,
        "numa_node": "" if device.numa_node is None else str(device.numa_node),
        "driver": _cut(device.driver),
        "firmware": _cut(device.firmware),
        "board": _cut(device.board_id),
        "node_guid": _cut(device.node_guid),
        "resource": offer.taken.get(device.id, ""),
    }


def _each(report: Report) -> Iterator[tuple[RdmaDevice, Port]]:
    """The ports of devices of which anything can be told."""
    for device in report.devices:
        if not device.elsewhere and not device.problem:
            for port in device.ports:
                yield device, port


def _ports(report: Report, readings: Readings) -> Iterator[MetricFamily]:
    links = readings.links
    known = [
        (device, port, links[device.id, port.number]) for device, port in _each(report) if (device.id, port.number) in links
    ]
    yield MetricFamily(
        "port",
        "What a port is in, in the kernel's words.",
        "info",
        tuple(Sample(_state(device, port, link), 1) for device, port, link in known),
    )
    yield MetricFamily(
        "port_active",
        "Whether a port can carry traffic.",
        samples=tuple(Sample({**_of(device), "port": str(port.number)}, float(link.active)) for device, port, link in known),
    )
    yield MetricFamily(
        "port_rate_bits_per_second",
        "Speed of a port's link; of active ports only, for drivers invent one for the others.",
        samples=tuple(
            Sample({**_of(device), "port": str(port.number)}, port.rate * GIGABIT)
            for device, port, link in known
            if link.active and port.rate is not None
        ),
    )


def _state(device: RdmaDevice, port: Port, link: Link) -> dict[str, str]:
    return {
        **_of(device),
        "port": str(port.number),
        "link_layer": _cut(port.link_layer),
        "state": link.state.name,
        "phys_state": link.phys_state.name,
    }


def _counters(report: Report, readings: Readings) -> Iterator[MetricFamily]:
    names = {device.id: device.name for device in report.devices if not device.elsewhere}
    read = [
        ({"device": each.device, "name": _cut(names[each.device]), "port": str(each.port) if each.port else ""}, each)
        for _, each in sorted(readings.counters.items())
        if each.device in names
    ]
    for file, (name, meaning) in PORT_COUNTERS.items():
        samples = (Sample(labels, each.values[file]) for labels, each in read if each.values.get(file, -1) >= 0)
        yield MetricFamily(f"port_{name}", f"{meaning}; the kernel's {file}.", "counter", tuple(samples))
    yield MetricFamily(
        "pcie_errors",
        "Errors of the PCI Express link, by Advanced Error Reporting.",
        "counter",
        tuple(
            Sample({"device": labels["device"], "name": labels["name"], "severity": severity}, each.values[file])
            for labels, each in read
            for file, severity in PCIE_COUNTERS.items()
            if not each.port and each.values.get(file, -1) >= 0
        ),
    )
    yield MetricFamily(
        "hw_counter",
        "Counters of the driver, by its own names; without a port, those of the whole device.",
        "counter",
        tuple(
            Sample({**labels, "counter": _cut(counter)}, value)
            for labels, each in read
            for counter, value in sorted(each.hw_values.items())
            if value >= 0
        ),
    )


def _process(report: Report, counts: Counts, restarts: int) -> Iterator[MetricFamily]:
    yield MetricFamily(
        "netns_mode",
        "Whether RDMA devices are seen in all network namespaces (shared) or in their own (exclusive).",
        "info",
        (Sample({"mode": report.netns_mode or "unknown"}, 1),),
    )
    yield MetricFamily("refused", "RDMA devices that cannot be offered at all.", samples=(Sample({}, len(report.refused)),))
    yield MetricFamily(
        "polls", "Messages about ports that the process which reads them has sent.", "counter", (Sample({}, counts.polls),)
    )
    yield MetricFamily("sysfs_restarts", "Processes that read sysfs in place of another.", "counter", (Sample({}, restarts),))
    yield from _memlock()


def _memlock() -> Iterator[MetricFamily]:
    """This container's limit is what the same runtime gives to workloads, as a rule; RDMA has to pin the memory that it uses."""
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    unlimited = soft == resource.RLIM_INFINITY
    yield MetricFamily(
        "memlock_unlimited", "Whether this process may pin any amount of memory.", samples=(Sample({}, float(unlimited)),)
    )
    yield MetricFamily(
        "memlock_limit_bytes",
        "Memory that this process may pin; nothing where it is unlimited.",
        samples=() if unlimited else (Sample({}, soft),),
    )

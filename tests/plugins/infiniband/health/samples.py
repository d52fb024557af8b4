"""Devices, links and monitors in the words of these tests."""

from typing import Any

from msgspec.structs import replace

from supervisor_infiniband.config import InfinibandConfig, Judgement, Pool
from supervisor_infiniband.health import Monitor, Verdict
from supervisor_infiniband.report import Change, Counters, Link, NetDevice, PhysState, Poll, PortState, RdmaDevice, Report
from supervisor_infiniband.units import Unit
from tests.plugins.infiniband.functions import ACTIVE, DOWN, pf, port, vf

INIT = Link(PortState.INIT, PhysState.LINK_UP)
DISABLED = Link(PortState.DOWN, PhysState.DISABLED)
DEFAULTS = Judgement()
ZERO = "0000:0000:0000:0000"
ONES = "ffff:ffff:ffff:ffff"

__all__ = ["ACTIVE", "DISABLED", "DOWN", "INIT", "ONES", "ZERO", "Node", "linked", "pf", "port", "vf", "with_netdev"]


def linked(device: RdmaDevice, *links: Link) -> RdmaDevice:
    """The device with these links on its ports, from the first on; the interfaces stay."""
    changed = [
        replace(each, link=replace(link, netdevs=each.link.netdevs)) for each, link in zip(device.ports, links, strict=True)
    ]
    return replace(device, ports=tuple(changed))


def with_netdev(device: RdmaDevice, *, up: bool | None) -> RdmaDevice:
    """The device with the interface of its first port administratively up or down."""
    first = device.ports[0]
    netdevs = (NetDevice("ens1f0v0", up=up),)
    return replace(device, ports=(replace(first, link=replace(first.link, netdevs=netdevs)), *device.ports[1:]))


class Node:
    """A monitor with the devices that it last looked at, all in one pool each of its own."""

    def __init__(self, *devices: RdmaDevice, judgement: Judgement = DEFAULTS, **pool: Any) -> None:
        """``pool``: further facts of the resource that all of them belong to."""
        self.pool = Pool(name="rdma/hca", judgement=judgement, **pool)
        self.judgement = judgement
        self.monitor = Monitor(InfinibandConfig(resources=(self.pool,)))
        self.devices = devices

    def look(self, now: float, *devices: RdmaDevice, without: tuple[str, ...] = ()) -> None:
        """Look at these devices, or at those of before; all their character devices are there but for ``without``."""
        self.devices = devices or self.devices
        ports = [each for device in self.devices for each in device.ports]
        names = {"rdma_cm", *(device.uverbs for device in self.devices), *(each.umad for each in ports)}
        nodes = frozenset(name for name in names if name and name not in without)
        self.monitor.look(Report(self.devices, nodes=nodes), now)

    def verdict(self, now: float, device: int = 0) -> Verdict:
        """Of the unit that one of the devices is."""
        return self.monitor.verdict(self.unit(device), self.judgement, now)

    def unit(self, device: int = 0) -> Unit:
        return Unit(self.devices[device].id, self.pool, (self.devices[device],))

    def seen(self, now: float, link: Link | None, device: int = 0, number: int = 1) -> bool:
        """Hear of another link by a poll, which the next look will find, too; whether a look is wanted now."""
        target = self.devices[device]
        wanted = self.monitor.poll(Poll((Change(target.id, number if link else 0, link),)), now)
        self.devices = tuple(_changed(each, number, link) if each is target else each for each in self.devices)
        return wanted

    def counted(self, now: float, device: int = 0, number: int = 1, **values: int) -> bool:
        """Hear of counters by a poll."""
        return self.monitor.poll(Poll(counters=(Counters(self.devices[device].id, number, values),)), now)


def _changed(device: RdmaDevice, number: int, link: Link | None) -> RdmaDevice:
    if link is None:
        return replace(device, unresponsive=True)
    ports = tuple(replace(each, link=link) if each.number == number else each for each in device.ports)
    return replace(device, ports=ports, unresponsive=False)

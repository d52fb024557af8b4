"""Machines with RDMA devices of every sort, as their kernels show them, and with what goes wrong in them.

``MACHINES`` has them all, by name, for tests that hold for each; ``planted`` writes one below a directory.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from msgspec import structs

from supervisor import Trouble
from supervisor_infiniband.report import Gid, PhysState, PortState
from supervisor_infiniband.simulate.cards import (
    CX6,
    CX7,
    SM,
    above_of,
    ethernet_port,
    guid,
    infiniband,
    infiniband_port,
    mac_of,
    octets,
    roce,
    virtual,
)
from supervisor_infiniband.simulate.changes import hanging, moved, numbered, with_vfs
from supervisor_infiniband.simulate.layouts import layout
from supervisor_infiniband.simulate.machine import Function, Hca, Interface, Machine, PciLink, Port
from supervisor_infiniband.simulate.tree import Tree

CARD = "0000:3b:00.0"
"""The address at which most of these machines have their card."""


def planted(name: str, root: Path) -> Tree:
    """One of the ``MACHINES`` below a directory; its ``close`` removes it."""
    return Tree(root, MACHINES[name]())


def machine(*functions: Function, **facts: object) -> Machine:
    """With numbers; ``facts`` as of ``Machine``."""
    return numbered(structs.replace(Machine(functions), **facts))


def spoilt(before: Machine, name: str, **troubles: bytes | Trouble) -> Machine:
    """With attributes of an RDMA device replaced; two underscores in a name stand for a slash."""
    _, hca = before.find(name)
    paths = {path.replace("__", "/"): trouble for path, trouble in troubles.items()}
    return before.with_hca(name, structs.replace(hca, spoilt=dict(hca.spoilt) | paths))


def with_port(before: Machine, name: str, number: int = 1, **facts: object) -> Machine:
    """With other facts of a port of an RDMA device."""
    _, hca = before.find(name)
    changed = structs.replace(hca.ports[number - 1], **facts)
    return before.with_hca(name, structs.replace(hca, ports=(*hca.ports[: number - 1], changed, *hca.ports[number:])))


def _with(function: Function, **facts: object) -> Function:
    """With other facts of its only RDMA device."""
    (hca,) = function.hcas
    return structs.replace(function, hcas=(structs.replace(hca, **facts),))


def roce_cx7() -> Machine:
    """A ConnectX-7 on Ethernet: GIDs with their interfaces and types, an empty rest of the table."""
    return machine(roce(CARD, "mlx5_0", "ens1f0np0", CX7))


def two_ports_one_function() -> Machine:
    """A ConnectX-3: one function with an InfiniBand and an Ethernet port; three GUIDs, and the interfaces told apart by ``dev_port``."""
    node, first, second = (guid(CARD, offset) for offset in range(3))
    mac = mac_of(CARD)
    ports = (infiniband_port(first, 7, "56 Gb/sec (4X FDR)", "ib0"), ethernet_port(mac, 9, "40 Gb/sec (4X QDR)", "ens1d1"))
    interfaces = (
        Interface("ib0", f"80:00:02:08:fe:80:00:00:00:00:00:00:{octets(first)}"),
        Interface("ens1d1", mac, port=1),
    )
    hca = Hca("mlx4_0", (ports[0], structs.replace(ports[1], issm=None)), node, second, firmware="2.42.5000", hca_type="MT4099")
    return machine(
        Function(CARD, above_of(CARD), device="1003", driver="mlx4_core", numa_node=0, interfaces=interfaces, hcas=(hca,)),
        modules=("ib_core", "ib_uverbs", "ib_umad", "rdma_ucm", "mlx4_core", "mlx4_ib"),
    )


def bond() -> Machine:
    """Two functions bonded: one RDMA device, under the first, whose GIDs name the bond."""
    second = "0000:3b:00.1"
    first = _with(roce(CARD, "mlx5_bond_0", "ens1f0np0"), ports=(ethernet_port(mac_of(CARD), 5, CX6.rate, "bond0"),))
    other = structs.replace(roce(second, "", "ens1f1np1"), hcas=())
    return machine(first, other, virtual(interfaces=(Interface("bond0", mac_of(CARD)),)))


def infiniband_4_vfs() -> Machine:
    """VFs that somebody has given GUIDs and a policy, all but the last."""
    grown = with_vfs(layout("dual-port-infiniband"), "mlx5_0", 4)
    for index, function in enumerate([one for one in grown.functions if one.pf][:3]):
        (hca,) = function.hcas
        own = guid(function.id)
        port = infiniband_port(own, 40 + index, CX6.rate)
        numbers = structs.replace(port, umad=hca.ports[0].umad, issm=hca.ports[0].issm)
        grown = grown.with_hca(hca.name, structs.replace(hca, node_guid=own, ports=(numbers,)))
    return grown


def infiniband_8_vfs_without_guid() -> Machine:
    """VFs as they come into being, before anybody has given them GUIDs."""
    return with_vfs(layout("dual-port-infiniband"), "mlx5_1", 8)


def connectx_8() -> Machine:
    """A ConnectX-8 at XDR: beside the end point a device of its four planes, for subnet managers, without ``uverbs``."""
    whole = structs.replace(infiniband(CARD, "mlx5_0", "ibp59s0", CX7), device="1023")
    (hca,) = whole.hcas
    end_point = structs.replace(hca.ports[0], rate="800 Gb/sec (4X XDR)", issm=None)
    plane = Port(rate="200 Gb/sec (1X XDR)", lid=17, sm_lid=1, cap_mask=SM, slots=0, pkeys=(0xFFFF,))
    planes = Hca("smi1", (plane,) * 4, guid(CARD, 1), hca.node_guid, uverbs=None)
    return machine(structs.replace(whole, hcas=(structs.replace(hca, ports=(end_point,)), planes)))


def two_end_points() -> Machine:
    """Two RDMA devices on one function, both true end points."""
    whole = infiniband(CARD, "mlx5_0", "ibp59s0")
    port = infiniband_port(guid(CARD, 2), 8, CX6.rate)
    return machine(structs.replace(whole, hcas=(*whole.hcas, Hca("mlx5_1", (port,), guid(CARD, 2)))))


def irdma() -> Machine:
    """An Intel E810 in RoCE mode: no ``board_id``, no ``hca_type``, a P_Key, and no MADs in user space here."""
    card = structs.replace(roce("0000:18:00.0", "rocep24s0f0", "ens785f0"), vendor="8086", device="159b", driver="ice")
    port = structs.replace(card.hcas[0].ports[0], umad=None, rate="100 Gb/sec (4X EDR)")
    return machine(
        _with(card, board_id="", hca_type="", firmware="1.69", ports=(port,)),
        modules=("ib_core", "ib_uverbs", "rdma_ucm", "ice", "irdma"),
    )


def iwarp() -> Machine:
    """An RNIC: it has no MADs, and its only GID is its hardware address."""
    address = "0000:19:00.4"
    mac = mac_of(address)
    gid = "".join(mac.split(":")).ljust(32, "0")
    port = Port(
        link_layer="Ethernet",
        rate="100 Gb/sec (4X EDR)",
        gids=(Gid(0, ":".join(gid[at : at + 4] for at in range(0, 32, 4))),),
        slots=1,
        umad=None,
        issm=None,
        counters={"link_downed": "N/A (no PMA)"},
    )
    hca = Hca(
        "cxgb4_0", (port,), guid(address), node_type="4: RNIC", firmware="1.27.4.0", hca_type="T6225-CR", board_id="1425.6400"
    )
    return machine(
        Function(
            address,
            above_of(address),
            vendor="1425",
            device="6401",
            driver="cxgb4",
            pci_class="020000",
            numa_node=1,
            interfaces=(Interface("ens2f4", mac),),
            hcas=(hca,),
        )
    )


def efa() -> Machine:
    """An Elastic Fabric Adapter: no type, no interface, no MADs, one GID, and no NUMA node."""
    address = "0000:00:1d.0"
    port = Port(
        link_layer="Unknown",
        rate="100 Gb/sec (4X EDR)",
        gids=(Gid(0, "fe80:0000:0000:0000:0c5f:bcff:fe8e:7a45"),),
        slots=1,
        pkeys=(0xFFFF,),
        umad=None,
        issm=None,
    )
    hca = Hca(
        "rdmap0s29",
        (port,),
        "0000:0000:0000:0000",
        node_type="7: unspecified",
        firmware="0.0.0.0",
        hw_counters={"lifespan": 12},
    )
    return machine(
        Function(
            address,
            ("pci0000:00",),
            vendor="1d0f",
            device="efa2",
            driver="efa",
            pci_class="020000",
            link=None,
            hcas=(hca,),
        ),
        modules=("ib_core", "ib_uverbs", "efa"),
    )


def sub_function() -> Machine:
    """A scalable function on the auxiliary bus, below the physical function that carries it."""
    carrier = roce(CARD, "mlx5_0", "ens1f0np0", CX7)
    mac = "02:00:00:00:00:58"
    hca = Hca("mlx5_4", (ethernet_port(mac, 88, CX7.rate, "enp59s0f0s88"),), "0000:00ff:fe00:0058", firmware=CX7.firmware)
    return machine(
        carrier,
        Function(
            "mlx5_core.sf.4",
            (*carrier.above, CARD),
            driver="mlx5_core.sf",
            pf=CARD,
            index=88,
            interfaces=(Interface("enp59s0f0s88", mac),),
            hcas=(hca,),
        ),
    )


def _software(name: str, node_type: str, **facts: object) -> Machine:
    mac = "02:00:00:00:00:07"
    port = structs.replace(ethernet_port(mac, 7, "100 Gb/sec (4X EDR)", "eth0"), **facts)
    hca = Hca(name, (port,), "0000:00ff:fe00:0007", node_type=node_type, parent="eth0")
    return machine(virtual(hca, interfaces=(Interface("eth0", mac),)), modules=("ib_core", "ib_uverbs", "ib_umad", "rdma_ucm"))


def soft_roce() -> Machine:
    """``rdma link add rxe0 type rxe netdev eth0``: no device behind it."""
    return _software("rxe0", "1: CA")


def soft_iwarp() -> Machine:
    """``rdma link add siw0 type siw netdev eth0``: no MADs either."""
    return _software("siw0", "4: RNIC", umad=None)


def exclusive_away() -> Machine:
    """RDMA mode ``exclusive`` with the second of two devices in a container's network namespace."""
    return moved(structs.replace(layout("dual-port-infiniband"), netns_mode="exclusive"), "mlx5_1", away=True)


def numbers_crossed() -> Machine:
    """Character devices whose numbers are the other way round than the devices' names."""
    return machine(infiniband("0000:3b:00.1", "mlx5_1", "ibp59s0f1"), infiniband(CARD, "mlx5_0", "ibp59s0f0"))


def pcie_degraded() -> Machine:
    """A card that has trained to half of its lanes."""
    card = infiniband(CARD, "mlx5_0", "ibp59s0")
    return machine(structs.replace(card, link=PciLink(width=8)))


def no_subnet_manager() -> Machine:
    """A port with a link that nobody has configured."""
    return with_port(layout("dual-port-infiniband"), "mlx5_0", state=PortState.INIT, lid=0, sm_lid=0)


def down() -> Machine:
    """A port without a cable."""
    return with_port(layout("dual-port-infiniband"), "mlx5_0", state=PortState.DOWN, phys_state=PhysState.POLLING)


def odd_names() -> Machine:
    """Devices that udev's rules have renamed, and one that somebody has."""
    return machine(
        infiniband(CARD, "ibp59s0f0", "ibp59s0f0"),
        roce("0000:5e:00.0", "rocep94s0", "ens3np0"),
        infiniband("0000:af:00.0", "storage-a", "ib7", numa_node=1),
    )


def without_core() -> Machine:
    """Cards whose drivers are there, and no RDMA module: not even the class exists."""
    return structs.replace(layout("dual-port-infiniband"), modules=("mlx5_core",), netns_mode="")


def without_uverbs() -> Machine:
    """Nothing in user space can use the devices: ``ib_uverbs`` is not loaded."""
    return structs.replace(layout("dual-port-infiniband"), modules=("ib_core", "mlx5_core", "mlx5_ib"))


def without_umad() -> Machine:
    """As on most nodes without tools: neither ``ib_umad`` nor ``rdma_ucm`` is loaded."""
    return structs.replace(layout("dual-port-infiniband"), modules=("ib_core", "ib_uverbs", "mlx5_core", "mlx5_ib"))


def nothing() -> Machine:
    """No RDMA device, with the modules loaded."""
    return Machine()


def half_gone() -> Machine:
    """A device in the middle of being taken away: its name is there still, its ports are not."""
    return spoilt(layout("dual-port-infiniband"), "mlx5_0", ports=Trouble.ABSENT, node_type=Trouble.ABSENT)


def dangling() -> Machine:
    """A device whose name leads nowhere."""
    return spoilt(layout("dual-port-infiniband"), "mlx5_0", **{"": Trouble.ABSENT})


def unreadable() -> Machine:
    """A device whose attributes fail with EIO."""
    return spoilt(
        layout("dual-port-infiniband"),
        "mlx5_0",
        node_guid=Trouble.FAILS,
        fw_ver=Trouble.FAILS,
        ports__1__state=Trouble.FAILS,
        ports__1__gids__0=Trouble.FAILS,
        device__numa_node=Trouble.FAILS,
    )


def garbage() -> Machine:
    """A device whose attributes make no sense."""
    return spoilt(
        layout("dual-port-infiniband"),
        "mlx5_0",
        node_guid=b"\xff\xfe\x00not a guid\n",
        ports__1__state=b"9999999999999999999999: WHAT\n",
        ports__1__phys_state=b"",
        ports__1__rate=b"fast\n",
        ports__1__lid=b"0xzz\n",
        ports__1__gids__0=b"::1\n",
        ports__1__pkeys__0=b"pkey\n",
        ports__1__counters__link_downed=b"-\n",
        device__numa_node=b"north\n",
        device__current_link_speed=b"\x00" * 10,
    )


def foreign_port() -> Machine:
    """A device with something among its ports that is none."""
    return spoilt(layout("dual-port-infiniband"), "mlx5_0", **{"ports/x": b"", "ports/0/state": b"4: ACTIVE\n"})


def hangs() -> Machine:
    """A device whose firmware does not answer."""
    return hanging(layout("dual-port-infiniband"), "mlx5_0", hangs=True)


@dataclass(frozen=True)
class _Named:
    """The layout of this name."""

    name: str

    def __call__(self) -> Machine:
        return layout(self.name)


_BUILDERS = (
    roce_cx7,
    two_ports_one_function,
    bond,
    infiniband_4_vfs,
    infiniband_8_vfs_without_guid,
    connectx_8,
    two_end_points,
    irdma,
    iwarp,
    efa,
    sub_function,
    soft_roce,
    soft_iwarp,
    exclusive_away,
    numbers_crossed,
    pcie_degraded,
    no_subnet_manager,
    down,
    odd_names,
    without_core,
    without_uverbs,
    without_umad,
    nothing,
)

BROKEN: dict[str, Callable[[], Machine]] = {
    builder.__name__.replace("_", "-"): builder for builder in (half_gone, dangling, unreadable, garbage, foreign_port, hangs)
}
"""In each, ``mlx5_0`` is spoilt and ``mlx5_1`` is well."""

MACHINES: dict[str, Callable[[], Machine]] = (
    {name: _Named(name) for name in ("dual-port-infiniband", "roce-16-vfs", "rails-8")}
    | {builder.__name__.replace("_", "-"): builder for builder in _BUILDERS}
    | BROKEN
)

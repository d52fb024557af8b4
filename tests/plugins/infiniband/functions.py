"""RDMA devices as a look finds them, and configurations as people write them, for tests of what is made of both."""

from typing import Any

import msgspec
import yaml
from hypothesis import strategies as st
from msgspec.structs import replace

from supervisor_infiniband.config import InfinibandConfig, Match
from supervisor_infiniband.report import Gid, Link, NetDevice, PhysState, Port, PortState, RdmaDevice, Report
from supervisor_infiniband.rules import offer
from supervisor_infiniband.units import Offer

ACTIVE = Link(PortState.ACTIVE, PhysState.LINK_UP)
DOWN = Link(PortState.DOWN, PhysState.POLLING)


def guid(number: int) -> str:
    return f"b8ce:f603:00aa:{number:04x}"


def port(number: int = 1, link: Link = ACTIVE, interface: str = "ib0", **facts: Any) -> Port:
    """A port of InfiniBand with 200 Gb/s; without a name of an interface, it has none."""
    kind = "ether" if facts.get("link_layer") == "Ethernet" else "infiniband"
    netdevs = (NetDevice(interface, link_type=kind),) if interface else ()
    defaults: dict[str, Any] = {"link_layer": "InfiniBand", "rate": 200.0, "guid": guid(0x100 + number), "pkeys": (0xFFFF,)}
    gids = (Gid(0, "fe80:0000:0000:0000:b8ce:f603:00aa:0101"),)
    return Port(number, replace(link, netdevs=netdevs), gids=gids, **{**defaults, **facts})


def pf(number: int = 0, **facts: Any) -> RdmaDevice:
    """A ConnectX-6 at ``0000:3b:00.<number>``."""
    defaults: dict[str, Any] = {
        "kind": "pf",
        "pci": f"0000:3b:00.{number}",
        "vendor": "15b3",
        "device": "101b",
        "driver": "mlx5_core",
        "numa_node": number % 2,
        "node_type": "1: CA",
        "node_guid": guid(number),
        "firmware": "20.31.1014",
        "ports": (port(interface=f"ib{number}", umad=f"umad{number}", issm=f"issm{number}"),),
        "uverbs": f"uverbs{number}",
    }
    return RdmaDevice(**{"id": f"0000:3b:00.{number}", "name": f"mlx5_{number}", **defaults, **facts})


def vf(index: int, parent: int = 0, **facts: Any) -> RdmaDevice:
    """A virtual function of ``pf(parent)``, whose interface is ``ens1f<parent>``."""
    address = f"0000:3b:{index // 8 + 1:02x}.{index % 8}"
    defaults: dict[str, Any] = {
        "id": address,
        "name": f"mlx5_{index + 8}",
        "kind": "vf",
        "pci": address,
        "device": "101c",
        "pf": f"0000:3b:00.{parent}",
        "pf_netdevs": (f"ens1f{parent}",),
        "index": index,
        "ports": (port(interface=f"ens1f{parent}v{index}", link_layer="Ethernet"),),
        "uverbs": f"uverbs{index + 8}",
    }
    return pf(parent, **{**defaults, **facts})


def sf(number: int, parent: int = 0, **facts: Any) -> RdmaDevice:
    """A sub-function on the auxiliary bus."""
    defaults = {"id": f"mlx5_core.sf.{number}", "name": f"mlx5_{number + 40}", "kind": "sf", "pci": f"0000:3b:00.{parent}"}
    return vf(number, parent, **{**defaults, **facts})


def rxe() -> RdmaDevice:
    """Soft RoCE has no parent, no vendor and no driver of a bus."""
    return RdmaDevice(id=f"guid-{guid(9).replace(':', '')}", name="rxe0", kind="virtual", node_guid=guid(9), uverbs="uverbs9")


def match_of(text: str) -> Match:
    return msgspec.convert(yaml.safe_load(text), Match)


def config_of(text: str) -> InfinibandConfig:
    return msgspec.convert(yaml.safe_load(text), InfinibandConfig)


def offered(resources: str, *devices: RdmaDevice) -> Offer:
    """What is offered of devices, by the YAML of the list of resources."""
    return offer(Report(devices), config_of(f"resources: [{resources}]"))


def ids(found: Offer, resource: str) -> list[str]:
    """The units of one resource."""
    return [unit.id for unit in found.units if unit.resource == resource]


# --- for properties ---------------------------------------------------------------------------------------------------------


def links() -> st.SearchStrategy[Link]:
    return st.sampled_from([ACTIVE, DOWN, Link(PortState.INIT, PhysState.LINK_UP)])


def ports() -> st.SearchStrategy[Port]:
    return st.builds(
        port,
        number=st.just(1),
        link=links(),
        interface=st.sampled_from(["", "ib0", "ens1f0"]),
        link_layer=st.sampled_from(["", "InfiniBand", "Ethernet"]),
        rate=st.sampled_from([None, 10.0, 100.0, 400.0]),
        pkeys=st.sampled_from([(), (0xFFFF,), (0xFFFF, 0x8001)]),
        guid=st.sampled_from(["", guid(1)]),
    )


def devices() -> st.SearchStrategy[RdmaDevice]:
    """Devices of any kind that may lack any fact, with few different values, so that matches often fit."""
    text = st.sampled_from
    return st.builds(
        RdmaDevice,
        id=st.sampled_from([f"0000:3b:00.{number}" for number in range(8)] + ["mlx5_core.sf.4", "x" * 80, "a::1"]),
        name=text(["mlx5_0", "mlx5_1", ""]),
        kind=text(["pf", "vf", "sf", "virtual"]),
        pci=text(["", "0000:3b:00.0"]),
        vendor=text(["", "15b3", "8086"]),
        driver=text(["", "mlx5_core", "irdma"]),
        numa_node=text([None, 0, 1]),
        pf=text(["", "0000:3b:00.0", "0000:3b:00.1"]),
        pf_netdevs=text([(), ("ens1f0",)]),
        index=text([None, 0, 1, 5]),
        vfs=text([0, 0, 0, 4]),
        node_guid=text(["", guid(0), "0000:0000:0000:0000"]),
        firmware=text(["", "20.31.1014"]),
        ports=st.lists(ports(), max_size=2).map(tuple),
        elsewhere=st.booleans(),
        problem=text(["", "", "", "its node_type cannot be read"]),
    )


def matches(depth: int = 1) -> st.SearchStrategy[Match]:
    """Matches with one to three fields."""
    fields: dict[str, st.SearchStrategy[Any]] = {
        "kind": st.sampled_from([("pf",), ("vf", "sf")]),
        "name": st.sampled_from([("mlx5_*",), ("mlx5_1",)]),
        "vendor": st.sampled_from([("15B3",), ("8086", "14e4")]),
        "interface": st.sampled_from([("ib*",), ("ens1f0",)]),
        "link_layer": st.sampled_from([("Ethernet",), ("InfiniBand",)]),
        "rate": st.sampled_from([25.0, 200.0]),
        "pkey": st.sampled_from([("0x1",), ("0x8001", "0x7fff")]),
        "guid": st.sampled_from([("0xb8cef603*",), ("*",)]),
        "pf": st.sampled_from([("ens1f0#0-3,5",), ("0000:3b:00.0",)]),
        "numa_node": st.sampled_from([(0,), (1, 2)]),
        "has_vfs": st.booleans(),
    }
    if depth:
        fields["not_"] = st.lists(matches(depth - 1), min_size=1, max_size=2).map(tuple)
    chosen = st.lists(st.sampled_from(sorted(fields)), min_size=1, max_size=3, unique=True)
    return chosen.flatmap(lambda names: st.fixed_dictionaries({name: fields[name] for name in names})).map(
        lambda given: Match(**given)
    )

"""Cards as they are found in machines: functions with RDMA devices, whose numbers and addresses follow from their PCI addresses."""

from collections.abc import Mapping, Sequence

from msgspec import Struct, structs

from supervisor_infiniband.report import Gid, PhysState, PortState
from supervisor_infiniband.simulate.machine import VF_LINK, VIRTUAL, Function, Hca, Interface, PciLink, Port

NO_GUID = "0000:0000:0000:0000"
"""Of an InfiniBand VF to which nobody has given one."""

CM, SM = 1 << 16, 1 << 1
"""Bits of ``cap_mask``: the port has a communication manager; it is the subnet manager's."""

_VFS = 16
"""That each function may have."""

COUNTERS: Mapping[str, int | str] = dict.fromkeys(
    (
        "excessive_buffer_overrun_errors",
        "link_downed",
        "link_error_recovery",
        "local_link_integrity_errors",
        "port_rcv_data",
        "port_rcv_errors",
        "port_rcv_packets",
        "port_xmit_data",
        "port_xmit_discards",
        "port_xmit_packets",
        "port_xmit_wait",
        "symbol_error",
        "VL15_dropped",
    ),
    0,
)
HW_COUNTERS: Mapping[str, int] = dict.fromkeys(
    (
        "lifespan",
        "local_ack_timeout_err",
        "np_cnp_sent",
        "out_of_buffer",
        "out_of_sequence",
        "packet_seq_err",
        "rp_cnp_handled",
    ),
    0,
) | {"lifespan": 10}


class Model(Struct, frozen=True):
    """What is the same in all cards of a model."""

    device: str
    vf_device: str
    firmware: str
    board_id: str
    rate: str
    link: PciLink = PciLink()

    @property
    def hca_type(self) -> str:
        return f"MT{int(self.device, 16)}"


CX6 = Model("101b", "101c", "20.43.2026", "MT_0000000224", "200 Gb/sec (4X HDR)")
CX7 = Model("1021", "101e", "28.43.2026", "MT_0000000838", "400 Gb/sec (4X NDR)", PciLink("32.0 GT/s PCIe", "32.0 GT/s PCIe"))


def guid(address: str, offset: int = 0) -> str:
    """A node or port GUID that follows from a PCI address."""
    low = int("".join(character for character in address if character in "0123456789abcdef"), 16) << 8 | offset
    digits = f"b83fd2{low & 0xFF_FFFF_FFFF:010x}"
    return ":".join(digits[at : at + 4] for at in range(0, 16, 4))


def octets(guid: str) -> str:
    """A GUID as addresses of IPoIB interfaces end with it."""
    digits = guid.replace(":", "")
    return ":".join(digits[at : at + 2] for at in range(0, 16, 2))


def infiniband_port(port_guid: str, lid: int, rate: str, interface: str = "") -> Port:
    """An active one in a subnet."""
    return Port(
        rate=rate,
        lid=lid,
        sm_lid=1,
        cap_mask=0xA651E848 | CM,
        gids=() if port_guid == NO_GUID else (Gid(0, f"fe80:0000:0000:0000:{port_guid}", "IB/RoCE v1", interface),),
        pkeys=(0xFFFF, 0, 0, 0),
        counters=COUNTERS,
        hw_counters=HW_COUNTERS,
    )


def ethernet_port(address: str, host: int, rate: str, interface: str) -> Port:
    """An active one whose interface has this hardware address, and the IPv4 address 10.0.x.y of the number ``host``."""
    first, *rest = (int(octet, 16) for octet in address.split(":"))
    eui = bytes((first ^ 2, *rest[:2], 0xFF, 0xFE, *rest[2:])).hex()
    local = "fe80:0000:0000:0000:" + ":".join(eui[at : at + 4] for at in range(0, 16, 4))
    mapped = f"0000:0000:0000:0000:0000:ffff:0a00:{host:04x}"
    gids = [(gid, kind) for gid in (local, mapped) for kind in ("IB/RoCE v1", "RoCE v2")]
    return Port(
        link_layer="Ethernet",
        rate=rate,
        cap_mask=CM,
        gids=tuple(Gid(index, gid, kind, interface) for index, (gid, kind) in enumerate(gids)),
        pkeys=(0xFFFF,),
        issm=None,
        counters=COUNTERS,
        hw_counters=HW_COUNTERS,
    )


def infiniband(
    address: str, name: str, interface: str, model: Model = CX6, *, above: Sequence[str] = (), numa_node: int = 0
) -> Function:
    """A function with one InfiniBand port and its IPoIB interface."""
    own = guid(address)
    port = infiniband_port(own, 16 + int(address[5:7], 16), model.rate)
    return Function(
        address,
        tuple(above) or above_of(address),
        device=model.device,
        numa_node=numa_node,
        link=model.link,
        total_vfs=_VFS,
        vf_offset=_vf_offset(address),
        interfaces=(Interface(interface, f"00:00:10:29:fe:80:00:00:00:00:00:00:{octets(own)}"),),
        hcas=(Hca(name, (port,), own, firmware=model.firmware, board_id=model.board_id, hca_type=model.hca_type),),
    )


def roce(
    address: str, name: str, interface: str, model: Model = CX6, *, above: Sequence[str] = (), numa_node: int = 0
) -> Function:
    """A function with one Ethernet port and its interface."""
    mac = mac_of(address)
    port = ethernet_port(mac, int(address[5:7], 16) << 8 | 1, model.rate.partition(" (")[0] + " (4X HDR)", interface)
    return Function(
        address,
        tuple(above) or above_of(address),
        device=model.device,
        pci_class="020000",
        numa_node=numa_node,
        link=model.link,
        total_vfs=_VFS,
        vf_offset=_vf_offset(address),
        interfaces=(Interface(interface, mac, port_name=f"p{address[-1]}"),),
        hcas=(Hca(name, (port,), guid(address), firmware=model.firmware, board_id=model.board_id, hca_type=model.hca_type),),
    )


def virtual(*hcas: Hca, interfaces: Sequence[Interface] = ()) -> Function:
    """Devices made of software."""
    return Function(VIRTUAL, driver="", link=None, interfaces=tuple(interfaces), hcas=hcas)


def _vf_offset(address: str) -> int:
    """So that the virtual functions of the second function of a card come after those of the first, and these after both."""
    return 2 + int(address[11:], 16) * (_VFS - 1)


def above_of(address: str) -> tuple[str, str]:
    """A root bus and a bridge, one bus below the function's."""
    bus = f"{address[:5]}{int(address[5:7], 16) - 1:02x}"
    return f"pci{bus}", f"{bus}:01.0"


def mac_of(address: str) -> str:
    """A hardware address that follows from a PCI address."""
    return f"b8:3f:d2:{address[5:7]}:{address[8:10]}:{int(address[11:], 16):02x}"


def vf(pf: Function, index: int, name: str) -> Function:
    """One as it comes into being: on Ethernet with an interface that is down, on InfiniBand without a GUID."""
    routing = int(pf.id[5:7], 16) << 8 | int(pf.id[8:10], 16) << 3 | int(pf.id[11:], 16)
    routing += pf.vf_offset + index
    address = f"{pf.id[:5]}{routing >> 8:02x}:{routing >> 3 & 31:02x}.{routing & 7}"
    model = CX7 if pf.device == CX7.device else CX6
    first = pf.hcas[0]
    ethernet = first.ports[0].link_layer == "Ethernet"
    interface = f"{pf.interfaces[0].name.partition('np')[0]}v{index}"
    made = (roce if ethernet else infiniband)(address, name, interface, model, above=pf.above, numa_node=pf.numa_node)
    hca = structs.replace(made.hcas[0], sys_image_guid=first.sys_image_guid or first.node_guid, node_guid=guid(address))
    port = structs.replace(hca.ports[0], state=PortState.DOWN, phys_state=PhysState.DISABLED, hw_counters={})
    if not ethernet:
        port = structs.replace(port, gids=(Gid(0, f"fe80:0000:0000:0000:{NO_GUID}"),), lid=0xFFFF)
        hca = structs.replace(hca, node_guid=NO_GUID)
    return structs.replace(
        made,
        device=model.vf_device,
        link=VF_LINK,
        total_vfs=0,
        pf=pf.id,
        index=index,
        interfaces=tuple(structs.replace(one, up=False, carrier=False, port_name="") for one in made.interfaces),
        hcas=(structs.replace(hca, ports=(port,)),),
    )

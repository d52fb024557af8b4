"""AMD's cards: Alveo by the drivers of XRT (a user function, mostly with a management function beside it), and MA35 by their own.

Alveo: the names of sub-devices end with a number made of the PCI address (``pci.number``); the nodes lie in ``/dev/dri``, ``/dev/xfpga``
and beside ``/dev/xclmgmt…``. MA35: a device of the class ``misc`` that belongs to no other, and says the address of its card itself.
"""

from msgspec import Struct

from supervisor_fpga.simulate import pci
from supervisor_fpga.simulate.machine import Device, Function, Machine, Node

VENDOR, MA35 = "10ee", "5070"
_DRM_MAJOR, _MANAGEMENT_MAJOR, _QDMA_MAJOR, _MISC_MAJOR = 226, 239, 238, 10
_MODULES = ("xocl", "xclmgmt")


class Alveo(Struct, frozen=True):
    """One FPGA: most cards have one of these, the U30 has two with one serial number."""

    address: str
    """Of its first function: management, or user where there is no management."""
    shell: str = "xilinx_u250_gen3x16_xdma_shell_4_1"
    """VBNV."""
    timestamp: str = "1638134452"
    uuid: str = "12c8fafb0632499db1c0c6676271b8a6"
    xclbin: str = ""
    """What is programmed: the uuid of its xclbin."""
    serial: str = "2130A0BK0051"
    device: str = "5005"
    render: int = 128
    numa_node: int = 0
    management: bool = True
    """Whether its management function is seen here: in a virtual machine it is not."""
    qdma: bool = False
    controller: str = "xmc"
    """The sub-device that knows the serial number: ``hwmon_sdm`` on newer cards (V70)."""

    @property
    def user(self) -> str:
        """Address of the user function."""
        return f"{self.address[:-1]}1" if self.management else self.address


def alveo(card: Alveo) -> list[Function]:
    """Its functions."""
    return [*([_management(card)] if card.management else []), _user(card)]


def alveo_machine(*cards: Alveo) -> Machine:
    return Machine(tuple(function for card in cards for function in alveo(card)), modules=_MODULES)


def ma35(address: str, index: int, serial: str, *, numa_node: int = 0) -> Function:
    """One of the two chips of an MA35D."""
    itself = pci.function(address, VENDOR, MA35, "ama_transcoder", numa_node=numa_node)
    told = {"Product name": "MA35D", "Product serial number": serial, "PCIe device ID": f"0x{MA35}"}
    transcoder = Device(
        f"virtual/misc/ama_transcoder{index}",
        "class/misc",
        {"bus_id": address, "device_info": "\n".join(f"{key} = {value}" for key, value in told.items())},
        node=Node(f"ama_transcoder{index}", _MISC_MAJOR, 120 + index),
    )
    return Function(address, (itself, transcoder))


def ma35_machine(*functions: Function) -> Machine:
    return Machine(functions, modules=("ama_transcoder",))


def _user(card: Alveo) -> Function:
    address, number = card.user, pci.number(card.user)
    itself = pci.function(
        address,
        VENDOR,
        card.device,
        "xocl",
        numa_node=card.numa_node,
        attributes={
            "user_pf": "",
            "ready": "0x1",
            "dev_offline": 0,
            "logic_uuids": card.uuid,
            "interface_uuids": "f2b82d53372f45a4bbe93d1c980216da",
            "xclbinuuid": card.xclbin,
        },
    )
    devices = [
        itself,
        _node(itself, "drm", f"renderD{card.render}", Node(f"dri/renderD{card.render}", _DRM_MAJOR, card.render)),
        _node(itself, "drm", f"card{card.render - 128}", Node(f"dri/card{card.render - 128}", _DRM_MAJOR, card.render - 128)),
        _part(itself, f"rom.u.{number}", "xocl_rom", {"VBNV": card.shell, "timestamp": card.timestamp}),
        _part(itself, f"{card.controller}.u.{number}", f"xocl_{card.controller}", {"serial_num": card.serial}),
        _part(itself, f"icap.u.{number}", "xocl_icap", {}),
        _sensors(itself, card.render - 128, "xocl_hwmon"),
    ]
    if card.qdma:
        queue = _part(itself, f"dma.qdma.u.{number}", "xocl_qdma", {})
        node = Node(f"xfpga/dma.qdma.u{number}.0", _QDMA_MAJOR, card.render - 128)
        devices += [queue, _node(queue, "xrt_user", f"dma.qdma.u{number}.0", node)]
    return Function(address, tuple(devices))


def _management(card: Alveo) -> Function:
    number = pci.number(card.address)
    itself = pci.function(
        card.address,
        VENDOR,
        f"{int(card.device, 16) - 1:04x}",
        "xclmgmt",
        numa_node=card.numa_node,
        attributes={"mgmt_pf": "", "instance": number, "ready": 1, "dev_offline": 0, "logic_uuids": card.uuid},
    )
    node = Node(f"xclmgmt{number}", _MANAGEMENT_MAJOR, card.render - 128)
    devices = (
        itself,
        _node(itself, "xrt_mgmt", f"xclmgmt{number}", node),
        _part(itself, f"rom.m.{number}", "xocl_rom", {"VBNV": card.shell, "timestamp": card.timestamp}),
        _sensors(itself, 16 + card.render - 128, "xclmgmt_hwmon"),
    )
    return Function(card.address, devices)


def _node(above: Device, home: str, name: str, node: Node) -> Device:
    return Device(f"{above.path}/{home}/{name}", f"class/{home}", node=node)


def _part(function: Device, name: str, driver: str, attributes: dict[str, object]) -> Device:
    """A sub-device of XRT, on the bus of platforms."""
    return Device(f"{function.path}/{name}", "bus/platform", attributes, driver=driver)


def _sensors(function: Device, index: int, name: str) -> Device:
    """Temperatures in thousandths of a degree, powers in millionths of a watt."""
    attributes = {
        "name": name,
        "temp1_input": 51_000,
        "temp1_crit": 97_000,
        "power1_input": 36_000_000,
        "power1_crit": 225_000_000,
    }
    return Device(f"{function.path}/hwmon/hwmon{index}", "class/hwmon", attributes)

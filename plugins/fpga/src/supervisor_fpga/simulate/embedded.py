"""FPGAs inside of systems on a chip: a manager of the kernel that programs the fabric, a region, and a bridge to it."""

from msgspec import Struct

from supervisor_fpga.simulate.machine import Device, Function, Machine, Node

STATES = (
    "unknown",
    "power off",
    "power up",
    "reset",
    "firmware request",
    "firmware request error",
    "write init",
    "write init error",
    "write",
    "write error",
    "write complete",
    "write complete error",
    "operating",
)
"""All that a manager may say (``sysfs-class-fpga-manager``)."""
_MODULES = ("fpga_mgr", "fpga_bridge", "fpga_region", "of_fpga_region")


class Fabric(Struct, frozen=True):
    """What can be programmed, with its manager."""

    index: int = 0
    name: str = "Xilinx ZynqMP FPGA Manager"
    platform: str = "platform/firmware:zynqmp-firmware/firmware:zynqmp-firmware:pcap"
    """Where the manager's device lies."""
    driver: str = "zynqmp_fpga_manager"
    state: str = "operating"
    status: tuple[str, ...] = ()
    """What went wrong: lines like ``reconfig CRC error``."""
    bridge: str | None = "enabled"
    region: bool = True
    attributes: bool = False
    """Whether it has those of the vendor's kernel by which it can be told to load a file (``firmware``, ``flags``)."""
    render: int | None = 128
    """Number of the node by which its accelerators are used (the driver zocl)."""


ZYNQ = Fabric(
    name="Xilinx Zynq FPGA Manager",
    platform="platform/axi/f8007000.devcfg",
    driver="zynq_fpga_manager",
    bridge=None,
    render=None,
)


def fabric(one: Fabric) -> Function:
    """Everything of it, by the name of its manager."""
    manager: dict[str, object] = {
        "name": one.name,
        "state": one.state,
        "status": "".join(f"{line}\n" for line in one.status).encode(),
    }
    if one.attributes:
        manager |= {"firmware": b"", "flags": "0", "key": b""}
    path = f"{one.platform}/fpga_manager/fpga{one.index}"
    devices = [Device(path, "class/fpga_manager", manager), Device(one.platform, "bus/platform", driver=one.driver)]
    if one.region:
        above = f"platform/fpga-region{one.index}"
        devices.append(Device(above, "bus/platform", driver="of-fpga-region"))
        devices.append(Device(f"{above}/fpga_region/region{one.index}", "class/fpga_region"))
    if one.bridge is not None:
        above = f"platform/axi/80{one.index:02x}0000.pr_decoupler"
        devices.append(Device(above, "bus/platform", driver="xlnx_pr_decoupler"))
        devices.append(
            Device(
                f"{above}/fpga_bridge/br{one.index}",
                "class/fpga_bridge",
                {"name": "Xilinx PR Decoupler", "state": one.bridge},
            )
        )
    if one.render is not None:
        above = f"platform/axi/axi:zyxclmm_drm{one.index or ''}"
        node = Node(f"dri/renderD{one.render}", 226, one.render)
        devices.append(Device(above, "bus/platform", driver="zocl-drm"))
        devices.append(Device(f"{above}/drm/renderD{one.render}", "class/drm", node=node))
    return Function(f"fpga{one.index}", tuple(devices))


def embedded_machine(*fabrics: Fabric) -> Machine:
    return Machine(tuple(fabric(one) for one in fabrics), modules=_MODULES)

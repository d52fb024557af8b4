"""Intel's cards, by the drivers that the kernel has (DFL) and by the older ones that came with OPAE.

Names and formats: ``Documentation/ABI/testing/sysfs-platform-dfl-{port,fme}`` and ``sysfs-class-fpga-{manager,bridge,region}``; where the
devices lie: ``drivers/fpga/dfl*.c``.
"""

from collections.abc import Sequence

from msgspec import Struct, structs

from supervisor_fpga.simulate import pci
from supervisor_fpga.simulate.machine import Device, Function, Machine, Node

A10_INTERFACE = "69528db6eb31577a8c3668f9faa081f6"
"""A shell of the Arria 10 PAC, and two accelerators that fit it."""
NLB0, NLB3 = "d8424dc4a4a3c413f89e433683f9040b", "f7df405cbd7acf7222f144b0b93acd18"
ALL_ONES = "f" * 32
"""What a card that has fallen off its bus says."""

VENDOR, A10, A10_VF, OFS, OFS_VF = "8086", "09c4", "09c5", "bcce", "bccf"
_DFL_MAJOR, _OPAE_MAJOR = 241, 240
_FIRST_PORT = 1 << 10
"""Minor number of the first port: below it are those of the FMEs."""


class Card(Struct, frozen=True):
    """One card, before it is said by which drivers."""

    address: str
    index: int = 0
    """Of its FME, and of its first port; region, manager and sensors are numbered by it, too."""
    interface: str = A10_INTERFACE
    afus: tuple[str | None, ...] = (NLB0,)
    """What each port holds; ``None`` for a port that was released to a VF."""
    numa_node: int = 0
    device: str = A10
    ports: int = 0
    """Number of the first port over all cards."""

    def minor(self, at: int) -> int:
        return self.ports + at


def dfl(card: Card) -> Function:
    """A card with its management engine (FME), a region with manager and bridge, and its ports."""
    itself = pci.function(
        card.address,
        VENDOR,
        card.device,
        "dfl-pci",
        numa_node=card.numa_node,
        attributes={"sriov_totalvfs": len(card.afus), "sriov_numvfs": 0},
    )
    base = f"{itself.path}/fpga_region/region{2 * card.index}"
    fme = f"{base}/dfl-fme.{card.index}"
    devices = [
        itself,
        Device(base, "class/fpga_region"),
        _dfl_fme(fme, card),
        *_dfl_programming(fme, card),
        *_dfl_sensors(fme, card.index),
    ]
    for at, afu in enumerate(card.afus):
        devices += _dfl_bridge(fme, card.minor(at))
        if afu is not None:
            devices.append(dfl_port(base, at, card.minor(at), afu))
    return Function(card.address, tuple(devices))


def _dfl_programming(fme: str, card: Card) -> tuple[Device, ...]:
    """What an engine has to program its regions."""
    manager, region = f"{fme}/dfl-fme-mgr.{card.index}", f"{fme}/dfl-fme-region.{card.index}"
    facts = {"name": "DFL FME FPGA Manager", "state": "unknown", "status": b""}
    return (
        Device(manager, "bus/platform", driver="dfl-fme-mgr"),
        Device(f"{manager}/fpga_manager/fpga{card.index}", "class/fpga_manager", facts),
        Device(region, "bus/platform", driver="dfl-fme-region"),
        Device(f"{region}/fpga_region/region{2 * card.index + 1}", "class/fpga_region", {"compat_id": card.interface}),
    )


def _dfl_bridge(fme: str, number: int) -> tuple[Device, ...]:
    """The bridge of a port, counted over all cards."""
    bridge = f"{fme}/dfl-fme-bridge.{number}.auto"
    facts = {"name": "DFL FPGA FME Bridge", "state": "enabled"}
    return (
        Device(bridge, "bus/platform", driver="dfl-fme-bridge"),
        Device(f"{bridge}/fpga_bridge/br{number}", "class/fpga_bridge", facts),
    )


def dfl_port(base: str, at: int, number: int, afu: str) -> Device:
    """A port: ``at`` on its card, ``number`` over all."""
    return Device(
        f"{base}/dfl-port.{number}",
        "bus/platform",
        {
            "id": at,
            "afu_id": afu,
            "power_state": "0x0",
            "ap1_event": "0",
            "ap2_event": "0",
            "ltr": "0",
            "errors/errors": "0x0",
            "errors/first_error": "0x0",
            "errors/first_malformed_req": f"0x{0:032x}",
        },
        driver="dfl-port",
        node=Node(f"dfl-port.{number}", _DFL_MAJOR, _FIRST_PORT + number),
    )


def dfl_vf(pf: Card, address: str, at: int = 0, afu: str = NLB0) -> Function:
    """A VF that has got a port of its card: a region without FME."""
    itself = pci.function(address, VENDOR, A10_VF, "dfl-pci", numa_node=pf.numa_node, attributes=_NO_LINK)
    path = f"{pci.above(pf.address)}/{address}"
    base = f"{path}/fpga_region/region{64 + pf.minor(at)}"
    devices = (structs.replace(itself, path=path), Device(base, "class/fpga_region"), dfl_port(base, at, pf.minor(at), afu))
    return Function(address, devices, pf=pf.address)


def dfl_machine(cards: Sequence[Card]) -> Machine:
    """Cards by the drivers that the kernel has, numbered in order."""
    modules = ("fpga_mgr", "fpga_bridge", "fpga_region", "dfl", "dfl_pci", "dfl_fme", "dfl_afu")
    return Machine(tuple(dfl(card) for card in numbered(cards)), modules=modules)


def numbered(cards: Sequence[Card]) -> list[Card]:
    """As the kernel deals numbers: in the order in which it finds them."""
    dealt, ports = [], 0
    for index, card in enumerate(cards):
        dealt.append(structs.replace(card, index=index, ports=ports))
        ports += len(card.afus)
    return dealt


def opae(card: Card) -> Function:
    """A card by the drivers that came with OPAE."""
    itself = pci.function(card.address, VENDOR, card.device, "intel-fpga-pci", numa_node=card.numa_node)
    base = f"{itself.path}/fpga/intel-fpga-dev.{card.index}"
    fme = Device(
        f"{base}/intel-fpga-fme.{card.index}",
        "bus/platform",
        {
            "ports_num": len(card.afus),
            "bitstream_id": "0x123000200000185",
            "pr/interface_id": card.interface,
            "thermal_mgmt/temperature": 45,
            "power_mgmt/consumed": 0x35,
            "errors/fme-errors/errors": "0x0",
            "errors/pcie0_errors": "0x0",
            "errors/pcie1_errors": "0x0",
            "errors/nonfatal_errors": "0x0",
            "errors/catfatal_errors": "0x0",
        },
        driver="intel-fpga-fme",
        node=Node(f"intel-fpga-fme.{card.index}", _OPAE_MAJOR, card.index),
    )
    ports = [
        Device(
            f"{base}/intel-fpga-port.{card.minor(at)}",
            "bus/platform",
            {"id": at, "afu_id": afu, "power_state": "0x0", "errors/errors": "0x0", "errors/first_error": "0x0"},
            driver="intel-fpga-port",
            node=Node(f"intel-fpga-port.{card.minor(at)}", _OPAE_MAJOR, _FIRST_PORT + card.minor(at)),
        )
        for at, afu in enumerate(card.afus)
        if afu is not None
    ]
    return Function(card.address, (itself, Device(base, "class/fpga"), fme, *ports))


def opae_machine(cards: Sequence[Card]) -> Machine:
    return Machine(
        tuple(opae(card) for card in numbered(cards)), modules=("intel_fpga_pci", "intel_fpga_fme", "intel_fpga_afu")
    )


_NO_LINK = {"current_link_speed": "Unknown", "max_link_speed": "Unknown", "current_link_width": 0, "max_link_width": 0}
"""Virtual functions have no link capabilities of their own."""


def _dfl_fme(path: str, card: Card) -> Device:
    registers = (
        "pcie0_errors",
        "pcie1_errors",
        "nonfatal_errors",
        "catfatal_errors",
        "fme_errors",
        "first_error",
        "next_error",
    )
    return Device(
        path,
        "bus/platform",
        {
            "ports_num": len(card.afus),
            "bitstream_id": "0x2300011001030f",
            "bitstream_metadata": "0x2202019",
            "cache_size": 0,
            "fabric_version": 0,
            "socket_id": 0,
            **{f"errors/{name}": "0x0" for name in registers},
        },
        driver="dfl-fme",
        node=Node(f"dfl-fme.{card.index}", _DFL_MAJOR, card.index),
    )


def _dfl_sensors(fme: str, index: int) -> list[Device]:
    """Temperatures in thousandths of a degree, powers in millionths of a watt."""
    thermal = {
        "name": "dfl_fme_thermal",
        "temp1_input": 45_000,
        "temp1_max": 90_000,
        "temp1_crit": 95_000,
        "temp1_emergency": 100_000,
        "temp1_max_alarm": 0,
        "temp1_crit_alarm": 0,
    }
    power = {
        "name": "dfl_fme_power",
        "power1_input": 25_000_000,
        "power1_max": 50_000_000,
        "power1_crit": 60_000_000,
        "power1_max_alarm": 0,
        "power1_crit_alarm": 0,
    }
    return [
        Device(f"{fme}/hwmon/hwmon{2 * index + number}", "class/hwmon", attributes)
        for number, attributes in enumerate((thermal, power))
    ]

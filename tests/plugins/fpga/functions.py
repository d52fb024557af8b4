"""Functions as a look finds them, and configurations as people write them, for tests of what is made of both."""

from typing import Any

import msgspec
import yaml
from hypothesis import strategies as st

from supervisor_fpga.config import FpgaConfig, Match
from supervisor_fpga.report import Function, Node, Report
from supervisor_fpga.rules import offer
from supervisor_fpga.units import Offer

INTERFACE = "69528db6eb31577a8c3668f9faa081f6"
AFU, OTHER_AFU = "d8424dc4a4a3c413f89e433683f9040b", "f7df405cbd7acf7222f144b0b93acd18"
ZEROS, ONES = "0" * 32, "f" * 32
SUM = "5" * 64


def dfl(number: int = 0, **facts: Any) -> Function:
    """The one port of an Arria 10 card at ``0000:3b:00.<number>``, which can be programmed."""
    address = f"0000:3b:00.{number}"
    defaults: dict[str, Any] = {
        "name": f"dfl-port.{number}",
        "pci": address,
        "card": address,
        "region": f"{address}/region0",
        "vendor": "8086",
        "device": "09c4",
        "driver": "dfl-pci",
        "shell": "0x123000200000185",
        "interface_id": INTERFACE,
        "afu_id": AFU,
        "numa_node": number % 2,
        "nodes": (Node(f"/dev/dfl-port.{number}", "port"), Node(f"/dev/dfl-fme.{number}", "fme")),
        "programmable": ("dfl-ioctl",),
        "resettable": True,
    }
    return Function(**{"id": address, "backend": "dfl", **defaults, **facts})


def alveo(number: int = 0, **facts: Any) -> Function:
    """The user function of an Alveo card."""
    address = f"0000:{number + 0x81:02x}:00.1"
    defaults: dict[str, Any] = {
        "backend": "xrt",
        "name": f"renderD{number + 128}",
        "pci": address,
        "card": address.removesuffix("1") + "0",
        "region": f"{address}/region0",
        "vendor": "10ee",
        "device": "5001",
        "driver": "xocl",
        "group": f"2130000{number:04}",
        "shell": "xilinx_u250_gen3x16_xdma_shell_4_1",
        "timestamp": "0",
        "nodes": (Node(f"/dev/dri/renderD{number + 128}", "user"), Node(f"/dev/xclmgmt{number}", "management")),
        "programmable": ("xrt",),
    }
    return Function(**{"id": address, **defaults, **facts})


def u30(number: int, serial: str = "2A0001") -> Function:
    """One of the two devices of a U30."""
    return alveo(number, group=serial, shell="xilinx_u30_gen3x4_base_1", timestamp="1620000000", device="513d")


def zynq(**facts: Any) -> Function:
    """The fabric of an embedded board."""
    defaults: dict[str, Any] = {
        "backend": "manager",
        "name": "fpga0",
        "card": "fpga0",
        "region": "fpga0",
        "kind": "platform",
        "driver": "zynqmp_fpga_manager",
        "programmable": ("fpga-manager",),
    }
    return Function(**{"id": "fpga0", **defaults, **facts})


def vfio(number: int, group: str = "42", **facts: Any) -> Function:
    """A function that is passed on as it is."""
    address = f"0000:5e:00.{number}"
    defaults: dict[str, Any] = {
        "backend": "vfio",
        "name": address,
        "pci": address,
        "card": "0000:5e:00.0",
        "kind": "vf" if number else "pf",
        "vendor": "8086",
        "device": "bcce",
        "driver": "vfio-pci",
        "iommu_group": group,
        "nodes": (Node(f"/dev/vfio/{group}", "group"), Node("/dev/vfio/vfio", "iommu")),
    }
    return Function(**{"id": address, **defaults, **facts})


def ma35() -> Function:
    return Function("0000:c1:00.0", "ma35", name="ama_transcoder0", pci="0000:c1:00.0", card="0000:c1:00.0", vendor="10ee")


def program(name: str = "nlb.gbs", more: str = "") -> str:
    return f"program: {{bitstream: {name}, sha256: '{SUM}'{more}}}"


def match_of(text: str) -> Match:
    return msgspec.convert(yaml.safe_load(text), Match)


def config_of(text: str) -> FpgaConfig:
    return msgspec.convert(yaml.safe_load(text), FpgaConfig)


def offered(resources: str, *functions: Function, before: Any = None) -> Offer:
    """What is offered of functions, by the YAML of the list of resources; all ways of programming are allowed."""
    ways = "[dfl-ioctl, fpga-manager, fpgad, xrt]"
    return offer(Report(functions), config_of(f"{{programming: {ways}, resources: [{resources}]}}"), before)


def ids(found: Offer, resource: str) -> list[str]:
    """The units of one resource."""
    return [unit.id for unit in found.units if unit.resource == resource]


def took(found: Offer) -> dict[str, tuple[str, ...]]:
    """The resources of each function."""
    return {name: tuple(resources) for name, resources in found.taken.items()}


# --- for properties ---------------------------------------------------------------------------------------------------------


def functions() -> st.SearchStrategy[Function]:
    """Functions of any back end that may lack any fact, with few different values, so that matches often fit."""
    text = st.sampled_from
    return st.builds(
        Function,
        id=text([f"0000:3b:00.{number}" for number in range(4)] + ["0000:3b:00.0/port1", "fpga0", "x" * 80, "a b"]),
        backend=text(["dfl", "manager", "xrt", "vfio"]),
        name=text(["", "dfl-port.0", "fpga0"]),
        pci=text(["", "0000:3b:00.0"]),
        card=text(["", "0000:3b:00.0", "0000:3b:00.1", "fpga0"]),
        group=text(["", "S1", "S2"]),
        region=text(["", "0000:3b:00.0/region0", "0000:3b:00.1/region0", "fpga0"]),
        kind=text(["pf", "vf", "platform"]),
        vendor=text(["", "8086", "10ee"]),
        driver=text(["", "dfl-pci", "xocl"]),
        shell=text(["", "xilinx_u30_base", "a:b", "y" * 70, "::"]),
        interface_id=text(["", INTERFACE, ZEROS, ONES, "odd"]),
        afu_id=text(["", AFU, OTHER_AFU, ONES]),
        numa_node=text([None, 0, 1]),
        programmable=text([(), ("dfl-ioctl",), ("xrt", "fpga-manager")]),
        resettable=st.booleans(),
        iommu_group=text(["", "1", "2"]),
        waiting_for=text(["", "", "", "no driver"]),
        problem=text(["", "", "", "its port has no id"]),
    )


def matches(depth: int = 1, *, afu: bool = True) -> st.SearchStrategy[Match]:
    """Matches with one to three fields."""
    fields: dict[str, st.SearchStrategy[Any]] = {
        "id": st.sampled_from([("3b:00.0",), ("0000:3b:*", "fpga0")]),
        "backend": st.sampled_from([("dfl",), ("xrt", "vfio")]),
        "kind": st.sampled_from([("pf",), ("vf", "platform")]),
        "vendor": st.sampled_from([("10EE",), ("8086", "10ee")]),
        "driver": st.sampled_from([("DFL-*",), ("xocl",)]),
        "shell": st.sampled_from([("*u30*",), ("a:?",)]),
        "interface_id": st.sampled_from([(INTERFACE.upper(),), ("*",)]),
        "group": st.sampled_from([("s1",), ("*",)]),
        "numa_node": st.sampled_from([(0,), (1, 2)]),
    }
    if afu:
        fields["afu_id"] = st.sampled_from([(AFU,), (f"{OTHER_AFU[:8]}-*",)])
    if depth:
        fields["not_"] = st.lists(matches(depth - 1, afu=afu), min_size=1, max_size=2).map(tuple)
    chosen = st.lists(st.sampled_from(sorted(fields)), min_size=1, max_size=3, unique=True)
    return chosen.flatmap(lambda names: st.fixed_dictionaries({name: fields[name] for name in names})).map(
        lambda given: Match(**given)
    )

"""A machine with RDMA devices, described as its kernel would describe it; ``tree`` makes files of it.

All values are frozen: what happens to a machine makes another one (``changes``), and a tree follows by the difference.
"""

from collections.abc import Iterator, Mapping
from typing import Literal

from msgspec import Struct, structs

from supervisor import Trouble
from supervisor_infiniband.report import Gid, PhysState, PortState

VIRTUAL = "virtual"
"""The ``id`` of the function that is none: its devices lie in ``/sys/devices/virtual``."""

FREE = -1
"""In place of a number: the lowest that nothing has, when ``changes.numbered`` deals them."""


class Interface(Struct, frozen=True):
    """A network interface of a function."""

    name: str
    address: str
    """Of the hardware, in hexadecimal with colons: six octets of Ethernet, twenty of IPoIB."""
    ifindex: int = FREE
    up: bool = True
    carrier: bool = True
    port: int = 0
    """``dev_port``: counts from 0."""
    port_name: str = ""
    """``phys_port_name``, which only uplinks (``p0``) and representors (``pf0vf0``) have."""

    @property
    def ipoib(self) -> bool:
        return self.address.count(":") == 19


class Port(Struct, frozen=True):
    """One port of an RDMA device; its number is its place, from 1 on."""

    state: PortState = PortState.ACTIVE
    phys_state: PhysState = PhysState.LINK_UP
    link_layer: Literal["InfiniBand", "Ethernet", "Unknown"] = "InfiniBand"
    rate: str = "200 Gb/sec (4X HDR)"
    """While it is active."""
    lid: int = 0
    sm_lid: int = 0
    cap_mask: int = 0
    gids: tuple[Gid, ...] = ()
    slots: int = 8
    """Of the GID table; those that nothing is in are all zeros, and their type and interface cannot be read."""
    pkeys: tuple[int, ...] = ()
    counters: Mapping[str, int | str] = {}
    """By the kernel's names; text stands as it is (``N/A (no PMA)``)."""
    hw_counters: Mapping[str, int] = {}
    umad: int | None = FREE
    """Its number, ``None`` without one."""
    issm: int | None = FREE


class Hca(Struct, frozen=True):
    """An RDMA device."""

    name: str
    ports: tuple[Port, ...]
    node_guid: str
    sys_image_guid: str = ""
    node_type: str = "1: CA"
    firmware: str = ""
    board_id: str = ""
    hca_type: str = ""
    parent: str = ""
    """The interface under a device made of software (``rdma link add``)."""
    uverbs: int | None = FREE
    """Its number, ``None`` without one."""
    away: bool = False
    """In another network namespace: its character devices are seen here, itself and the interfaces of its function are not."""
    hw_counters: Mapping[str, int] = {}
    spoilt: Mapping[str, bytes | Trouble] = {}
    """What its directory has in place of what it should, by path; ``device/`` leads to that of its function."""


class PciLink(Struct, frozen=True):
    """As the attributes have it."""

    speed: str = "16.0 GT/s PCIe"
    max_speed: str = "16.0 GT/s PCIe"
    width: int = 16
    max_width: int = 16


VF_LINK = PciLink("Unknown", "Unknown", 0, 0)
"""Virtual functions have no link capabilities of their own."""


class Function(Struct, frozen=True):
    """A function of PCI, a sub-function of the auxiliary bus, or what stands for neither (``VIRTUAL``)."""

    id: str
    above: tuple[str, ...] = ()
    """The directories from ``/sys/devices`` to it, bridges by their addresses."""
    vendor: str = "15b3"
    device: str = ""
    driver: str = "mlx5_core"
    """Empty: nothing drives it, and it has no interfaces or RDMA devices."""
    pci_class: str = "020700"
    numa_node: int = -1
    link: PciLink | None = PciLink()
    total_vfs: int = 0
    """0: it has no SR-IOV."""
    vf_offset: int = 2
    """From its routing id to that of its first VF."""
    pf: str = ""
    """``id`` of the physical function of a VF, or of the function that carries an SF."""
    index: int = 0
    """Of a VF on its PF, or the SF number."""
    interfaces: tuple[Interface, ...] = ()
    hcas: tuple[Hca, ...] = ()

    @property
    def bus(self) -> Literal["pci", "auxiliary", ""]:
        """Empty for ``VIRTUAL``."""
        if self.id == VIRTUAL:
            return ""
        return "pci" if self.id[4:5] == ":" else "auxiliary"

    @property
    def path(self) -> str:
        """Below the root of sysfs, without a slash at its start."""
        return "/".join(("devices", *self.above, self.id))


class Machine(Struct, frozen=True):
    """All of it, in the order in which the kernel has found it."""

    functions: tuple[Function, ...] = ()
    netns_mode: Literal["shared", "exclusive", ""] = "shared"
    """Empty: a kernel without the parameter."""
    modules: tuple[str, ...] = ("ib_core", "ib_uverbs", "ib_umad", "rdma_ucm", "mlx5_core", "mlx5_ib")
    """Those that are loaded. Without ``ib_core`` there are no RDMA devices, without the next three not their character devices."""

    def hcas(self) -> Iterator[tuple[Function, Hca]]:
        """Each RDMA device with its function."""
        return ((function, hca) for function in self.functions for hca in function.hcas)

    def function(self, word: str) -> Function:
        """The function with this ``id``. Raises ``KeyError``."""
        for function in self.functions:
            if function.id == word:
                return function
        raise KeyError(word)

    def find(self, word: str) -> tuple[Function, Hca]:
        """An RDMA device by its name, or the first of a function by its ``id``. Raises ``KeyError``."""
        for function, hca in self.hcas():
            if word in {hca.name, function.id}:
                return function, hca
        raise KeyError(word)

    def with_function(self, function: Function) -> "Machine":
        """This function in the place of the one with its ``id``."""
        return structs.replace(self, functions=tuple(function if old.id == function.id else old for old in self.functions))

    def with_hca(self, name: str, hca: Hca) -> "Machine":
        """This RDMA device in the place of the one with that name."""
        function, _ = self.find(name)
        hcas = tuple(hca if old.name == name else old for old in function.hcas)
        return self.with_function(structs.replace(function, hcas=hcas))

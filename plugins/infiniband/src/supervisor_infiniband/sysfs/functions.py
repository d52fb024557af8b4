"""Which function an RDMA device is: what the links of its directory say, without a word of its driver."""

import re

from msgspec import Struct, structs

from supervisor import HostDevice, HostView
from supervisor_infiniband.report import RdmaDevice

_VIRTUAL_FUNCTION = re.compile(r"virtfn([0-9]+)")
_SUB_FUNCTION = re.compile(r".+\.sf\.([0-9]+)")


class Function(Struct, frozen=True):
    """What an RDMA device hangs on."""

    facts: RdmaDevice
    """With what is known of the function; the rest is empty."""
    net: str = ""
    """Where this process sees its network interfaces; empty without a function."""
    pf_net: str = ""
    """Of its physical function, or of the function that carries it."""
    pci: str = ""
    """Where this process sees its PCI function; empty where that has no link of its own."""


class Functions:
    """Those of one look."""

    def __init__(self, view: HostView) -> None:
        self._view = view
        self._indices: dict[str, dict[str, int]] = {}

    def of(self, name: str, path: str) -> Function:
        """That of the RDMA device ``name``, by the directory that has its link ``device``.

        A device made of software (rxe, siw) is virtual, even where the link leads to the function of the interface under it.
        """
        made_upon = self._view.read(f"{path}/parent")
        base = None if made_upon is not None else self._view.device(f"{path}/device")
        for device in base.lineage() if base is not None else ():
            if device.subsystem == "pci":
                return self._pci(name, device)
            if device.subsystem == "auxiliary" and (match := _SUB_FUNCTION.fullmatch(device.name)) and device.pci_device:
                return self._sub_function(name, device, device.pci_device, int(match[1]))
        return Function(RdmaDevice("", name, "virtual"), net=self._local(base.path) if base is not None else "")

    def _pci(self, name: str, device: HostDevice) -> Function:
        carrier = self._view.resolve(f"{device.path}/physfn")
        facts = structs.replace(_named(name, device, device), kind="pf" if carrier is None else "vf", pci=device.name)
        if carrier is None:
            local = self._local(device.path)
            return Function(structs.replace(facts, vfs=len(self._index_of(device.path))), self._net(device.path), pci=local)
        pf = carrier.rpartition("/")[2]
        facts = structs.replace(facts, pf=pf, index=self._index_of(carrier).get(device.name))
        return Function(facts, self._net(device.path), self._net(carrier))

    def _sub_function(self, name: str, device: HostDevice, carrier: HostDevice, index: int) -> Function:
        said = device.attribute("sfnum") or ""
        facts = structs.replace(
            _named(name, device, carrier),
            kind="sf",
            pci=carrier.name,
            pf=carrier.name,
            index=int(said) if said.isdecimal() else index,
        )
        return Function(facts, self._net(device.path), self._net(carrier.path))

    def _index_of(self, path: str) -> dict[str, int]:
        """The index of each virtual function of a physical one, by its address."""
        if path not in self._indices:
            matches = [match for name in self._view.names(path) if (match := _VIRTUAL_FUNCTION.fullmatch(name))]
            found = {self._view.link_name(f"{path}/{match[0]}"): int(match[1]) for match in matches}
            self._indices[path] = {address: index for address, index in found.items() if address is not None}
        return self._indices[path]

    def _net(self, path: str) -> str:
        return f"{self._local(path)}/net"

    def _local(self, path: str) -> str:
        local = self._view.host.local(path)
        assert local is not None  # what lies below /sys/devices was found there
        return local


def _named(name: str, device: HostDevice, pci: HostDevice) -> RdmaDevice:
    return RdmaDevice(
        id=device.name,
        name=name,
        kind="virtual",
        path=device.path,
        vendor=(pci.attribute("vendor") or "").removeprefix("0x").lower(),
        device=(pci.attribute("device") or "").removeprefix("0x").lower(),
        driver=device.driver or "",
        numa_node=device.numa_node,
    )

"""AMD's media accelerators (MA35D) by their own driver: devices ``ama_transcoder<n>`` of the class ``misc``, which hang on no other device.

Each of a card's two chips is a PCI function of its own, and ``bus_id`` says which; the serial number says which belong together.
"""

from msgspec import structs

from supervisor import HostDevice, HostView
from supervisor_fpga import pci
from supervisor_fpga.backends import attributes as values
from supervisor_fpga.backends import hwmon, pcie
from supervisor_fpga.backends.attributes import Attributes
from supervisor_fpga.backends.protocol import Found
from supervisor_fpga.report import Backend, Evidence, Function, Node

_NAMES = "ama_transcoder*"
_PRODUCT, _SERIAL = "product name", "product serial number"
"""Lines of ``device_info``, in lower case."""


class Ma35:
    """Transcoders."""

    name: Backend = "ma35"

    def find(self, view: HostView) -> Found:
        functions: list[Function] = []
        refused: dict[str, str] = {}
        for device in view.devices("misc", _NAMES):
            address = pci.normal(device.attribute("bus_id") or "")  # which the driver knows without asking
            itself = view.device(f"/sys/bus/pci/devices/{address}") if address else None
            if itself is None:
                refused[device.name] = "it does not say at which PCI address it is" if not address else f"there is no {address}"
            else:
                functions.append(_function(view, device, itself))
        return Found(tuple(functions), refused=refused)

    def read(self, attributes: Attributes, function: Function) -> Function:
        lines = (line.partition("=") for line in attributes.lines(f"{function.path}/device_info"))
        told = {key.strip().lower(): value.strip() for key, equals, value in lines if equals}
        itself = attributes.link(f"/sys/bus/pci/devices/{function.pci}")
        return structs.replace(
            function,
            shell=told.get(_PRODUCT, "")[: values.LONGEST_WORD],
            group=values.serial(told.get(_SERIAL, "")),
            evidence=Evidence(sensors=hwmon.sensors(attributes, itself), pci_link=pcie.link(attributes, itself)),
        )


def _function(view: HostView, device: HostDevice, itself: HostDevice) -> Function:
    path = device.node or f"/dev/{device.name}"
    return Function(
        id=itself.name,
        backend="ma35",
        name=device.name,
        path=device.path,
        pci=itself.name,
        card=pcie.physical(view, itself) or itself.name,
        kind=pcie.kind(view, itself),
        vendor=pcie.number(itself, "vendor"),
        device=pcie.number(itself, "device"),
        driver=itself.driver or "",
        numa_node=itself.numa_node,
        nodes=(Node(path, "user", view.node(path) is not None),),
    )

"""Intel's cards by the drivers that came with OPAE before the kernel had its own: ``/sys/class/fpga/intel-fpga-dev.<n>``."""

from collections.abc import Iterator

from supervisor import HostView
from supervisor_fpga.backends import hwmon, intel, pcie
from supervisor_fpga.backends.attributes import Attributes
from supervisor_fpga.backends.intel import Family, Places
from supervisor_fpga.backends.protocol import Found
from supervisor_fpga.report import Backend, Evidence, Function, Sensor

FAMILY = Family(
    name="opae",
    home="fpga",
    port="intel-fpga-port",
    fme="intel-fpga-fme",
    bridge="",
    regions="pr",
    module="intel_fpga_afu",
)

_PORT_ERRORS = ("errors", "first_error")
_FME_ERRORS = {
    "pcie0_errors": "pcie0_errors",
    "pcie1_errors": "pcie1_errors",
    "nonfatal_errors": "nonfatal_errors",
    "catfatal_errors": "catfatal_errors",
    "fme_errors": "fme-errors/errors",
    "first_error": "fme-errors/first_error",
    "next_error": "fme-errors/next_error",
}
"""Where the kernel's later drivers have them, and where these do."""


class Opae:
    """Ports of the drivers that came with OPAE."""

    name: Backend = FAMILY.name

    def find(self, view: HostView) -> Found:
        return intel.find(view, FAMILY)

    def read(self, attributes: Attributes, function: Function) -> Function:
        where = intel.places(attributes, FAMILY, function)
        return intel.completed(
            attributes,
            function,
            attributes.text(f"{where.fme}/pr/interface_id") if where.fme else None,
            shell=attributes.text(f"{where.fme}/bitstream_id") or "" if where.fme else "",
            evidence=_evidence(attributes, where),
        )


def _evidence(attributes: Attributes, where: Places) -> Evidence:
    registers = {f"port/{name}": f"{where.port}/errors/{name}" for name in _PORT_ERRORS}
    if where.fme:
        registers |= {f"fme/{name}": f"{where.fme}/errors/{path}" for name, path in _FME_ERRORS.items()}
    return Evidence(
        errors=intel.errors(attributes, registers),
        power_state=attributes.number(f"{where.port}/power_state"),
        sensors=(*_sensors(attributes, where.fme), *hwmon.sensors(attributes, where.carrier)),
        pci_link=pcie.link(attributes, where.carrier),
    )


def _sensors(attributes: Attributes, fme: str) -> Iterator[Sensor]:
    """Whole degrees and watts, in files of their own: these drivers came before the hardware monitor's."""
    if fme and (temperature := attributes.number(f"{fme}/thermal_mgmt/temperature")) is not None:
        limit = attributes.number(f"{fme}/thermal_mgmt/threshold2")
        yield Sensor("temperature", "temperature", float(temperature), None if limit is None else float(limit))
    if fme and (power := attributes.number(f"{fme}/power_mgmt/consumed")) is not None:
        limit = attributes.number(f"{fme}/power_mgmt/threshold2")
        yield Sensor("power", "power", float(power), None if limit is None else float(limit))

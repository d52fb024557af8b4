"""Intel's cards by the kernel's own drivers (DFL): ``Documentation/ABI/testing/sysfs-platform-dfl-{port,fme}``."""

from supervisor import HostView
from supervisor_fpga.backends import hwmon, intel, pcie
from supervisor_fpga.backends.attributes import Attributes
from supervisor_fpga.backends.intel import Family, Places
from supervisor_fpga.backends.protocol import Found
from supervisor_fpga.report import Backend, Evidence, Function

FAMILY = Family(
    name="dfl",
    home="fpga_region",
    port="dfl-port",
    fme="dfl-fme",
    bridge="dfl-fme-bridge.",
    regions="dfl-fme-region.",
    module="dfl_afu",
)

_PORT_ERRORS = ("errors", "first_error")
_FME_ERRORS = ("pcie0_errors", "pcie1_errors", "nonfatal_errors", "catfatal_errors", "fme_errors", "first_error", "next_error")


class Dfl:
    """Ports of DFL, on physical and on virtual functions."""

    name: Backend = FAMILY.name

    def find(self, view: HostView) -> Found:
        return intel.find(view, FAMILY)

    def read(self, attributes: Attributes, function: Function) -> Function:
        where = intel.places(attributes, FAMILY, function)
        return intel.completed(
            attributes,
            function,
            _interface(attributes, where.fme),
            shell=attributes.text(f"{where.fme}/bitstream_id") or "" if where.fme else "",
            evidence=_evidence(attributes, where),
        )


def _interface(attributes: Attributes, fme: str) -> str | None:
    """All regions of an engine have the same."""
    path = intel.first(attributes, fme, ("dfl-fme-region.", "fpga_region", "region")) if fme else ""
    return attributes.text(f"{path}/compat_id") if path else None


def _evidence(attributes: Attributes, where: Places) -> Evidence:
    registers = {f"port/{name}": f"{where.port}/errors/{name}" for name in _PORT_ERRORS}
    manager = ""
    if where.fme:
        registers |= {f"fme/{name}": f"{where.fme}/errors/{name}" for name in _FME_ERRORS}
        manager = intel.first(attributes, where.fme, ("dfl-fme-mgr.", "fpga_manager", "fpga"))
    return Evidence(
        state=attributes.text(f"{manager}/state") or "" if manager else "",
        status=attributes.lines(f"{manager}/status") if manager else (),
        bridges=_bridges(attributes, where),
        errors=intel.errors(attributes, registers),
        power_state=attributes.number(f"{where.port}/power_state"),
        sensors=hwmon.sensors(attributes, where.carrier),
        pci_link=pcie.link(attributes, where.carrier),
    )


def _bridges(attributes: Attributes, where: Places) -> dict[str, str]:
    """Those of its own port: the engine has made one for each, in the order of the ports."""
    if not where.fme:
        return {}
    names = [name for name in attributes.names(where.fme) if name.startswith(FAMILY.bridge)]
    number = attributes.number(f"{where.port}/id") if len(names) > 1 else 0
    own = names[number : number + 1] if number is not None else []
    paths = (intel.first(attributes, f"{where.fme}/{name}", ("fpga_bridge", "")) for name in own)
    return {path.rpartition("/")[2]: attributes.text(f"{path}/state") or "" for path in paths if path}

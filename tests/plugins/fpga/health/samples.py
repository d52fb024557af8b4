"""Functions, and monitors of them, in the words of these tests."""

from typing import Any

from msgspec.structs import replace

from supervisor_fpga.config import Limits, Program, Resource
from supervisor_fpga.health import Monitor, Verdict
from supervisor_fpga.operating.messages import Prepared
from supervisor_fpga.report import Change, Evidence, Function, Node, Poll, Report, Sensor
from supervisor_fpga.units import Unit

AFU = "d8424dc4a4a3c413f89e433683f9040b"
OTHER_AFU = "331db30c988541ea9081f88b8f655caa"
INTERFACE = "69528db6eb31577a8c3668f9faa081f6"
ONES, ZEROS = "f" * 32, "0" * 32
LIMITS = Limits()
PROGRAM = Program(bitstream="nlb.gbs", sha256="0" * 64, afu_id=AFU)
READY, REFUSED = Prepared("ready"), Prepared("refused", "no such bitstream: nlb.gbs")
PROGRAMMED, RESET = Prepared("ready", programmed=True), Prepared("ready", was_reset=True)
FAILED = Prepared("failed", "programming ended with EIO")


def port(number: int = 0, **facts: Any) -> Function:
    """A port of a DFL card at ``0000:3b:00.<number>``; what belongs to its evidence may be given, too."""
    card = f"0000:3b:00.{number}"
    evidence = Evidence(**{name: facts.pop(name) for name in Evidence.__struct_fields__ if name in facts})
    defaults: dict[str, Any] = {
        "id": card,
        "backend": "dfl",
        "name": f"dfl-port.{number}",
        "pci": card,
        "card": card,
        "region": f"{card}/region0",
        "vendor": "8086",
        "device": "09c4",
        "driver": "dfl-pci",
        "interface_id": INTERFACE,
        "afu_id": AFU,
        "numa_node": 0,
        "nodes": (Node(f"/dev/dfl-port.{number}", "port"), Node(f"/dev/dfl-fme.{number}", "fme")),
        "evidence": evidence,
    }
    return Function(**{**defaults, **facts})


def fabric(state: str = "operating", **facts: Any) -> Function:
    """The FPGA manager of an embedded system, in this state."""
    evidence = Evidence(state=state, **{name: facts.pop(name) for name in Evidence.__struct_fields__ if name in facts})
    return Function(
        **{"id": "fpga0", "backend": "manager", "kind": "platform", "region": "region0", "evidence": evidence, **facts}
    )


def hot(celsius: float, limit: float | None = 100.0, **facts: Any) -> Sensor:
    """A thermometer."""
    return Sensor("Core", "temperature", celsius, limit, **facts)


class Machine:
    """A monitor with the functions that it last looked at, each a unit of one resource."""

    def __init__(self, *functions: Function, limits: Limits = LIMITS, rule: Resource | None = None) -> None:
        self.limits = limits
        self.rule = rule or Resource(name="fpga.example.com/card")
        self.monitor = Monitor(limits)
        self.functions = functions

    def look(self, now: float, *functions: Function) -> None:
        """Look at these functions, or at those of before."""
        self.functions = functions or self.functions
        self.monitor.look(Report(self.functions), now)

    def look_at_nothing(self, now: float) -> None:
        """Everything is gone, though not from what ``look`` finds next."""
        self.monitor.look(Report(), now)

    def verdict(self, number: int = 0) -> Verdict:
        """Of the unit that one of the functions is."""
        return self.monitor.verdict(self.unit(number))

    def unit(self, number: int = 0) -> Unit:
        function = self.functions[number]
        return Unit(function.id, self.rule.name, self.rule, (function,))

    def told(self, now: float, function: Function) -> bool:
        """Hear of what is known of this function now, which the next look will find, too; whether a look is wanted."""
        change = Change(function.id, function.evidence, function.afu_id, unresponsive=function.unresponsive)
        self.functions = tuple(function if each.id == function.id else each for each in self.functions)
        return self.monitor.poll(Poll((change,)), now)

    def started(self, now: float, prepared: Prepared | None, number: int = 0) -> bool:
        """Make a function ready for a container, with this outcome; whether a look is wanted."""
        self.monitor.begin(self.functions[number])
        return self.monitor.end(self.functions[number], prepared, now)


def with_evidence(function: Function, **facts: Any) -> Function:
    """The function with other evidence."""
    return replace(function, evidence=replace(function.evidence, **facts))

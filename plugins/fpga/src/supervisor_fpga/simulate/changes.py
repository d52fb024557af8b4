"""What happens to machines: each function makes the machine after it. They raise ``KeyError`` for what the machine has not."""

from collections.abc import Callable, Mapping

from msgspec import structs

from supervisor import Trouble
from supervisor_fpga.simulate.embedded import STATES
from supervisor_fpga.simulate.machine import Device, Function, Machine

_PROGRAMS = ("afu_id", "xclbinuuid")
"""Attributes that say what is programmed."""
_REGISTER = "errors/"
_NOT_REGISTERS = ("first_error", "next_error", "first_malformed_req")
QUERIED = (
    *_PROGRAMS,
    "errors/errors",
    "power_state",
    "status",
    "temp1_input",
    "power1_input",
    "serial_num",
    "pr/interface_id",
    "compat_id",
)
"""The attributes for which the kernel asks the hardware."""


def programmed(machine: Machine, word: str, program: str) -> Machine:
    """With something else programmed: no event tells of it. A port by its kernel name, else the first of its function.

    What is programmed in an embedded FPGA cannot be read: there it is the manager that operates.
    """
    function = machine.find(word)
    for device in _named_first(function, word):
        for name in _PROGRAMS:
            if name in device.attributes:
                return _with(machine, function, device, {name: program})
    return in_state(machine, word, "operating")


def in_state(machine: Machine, word: str, state: str, *status: str) -> Machine:
    """With a manager in a state, and what it reports of it. Raises ``ValueError`` for a state that no manager knows."""
    if state not in STATES:
        raise ValueError(f"there is no state {state!r}; there are {', '.join(STATES)}")
    function = machine.find(word)
    manager = _device(function, word, lambda device: device.home == "class/fpga_manager")
    lines = "".join(f"{line}\n" for line in status).encode()
    return _with(machine, function, manager, {"state": state, "status": lines})


def failing(machine: Machine, word: str, register: str, value: int) -> Machine:
    """With a value in an error register: ``port/errors``, ``fme/catfatal_errors``, and so on."""
    function = machine.find(word)
    kind, _, name = register.partition("/")
    path = _REGISTER + name
    device = _device(function, word, lambda device: f"-{kind}." in device.name and path in device.attributes, register)
    return _with(machine, function, device, {path: f"0x{value:x}"})


def cleared(machine: Machine, word: str) -> Machine:
    """With no error anywhere in a function, at its usual temperature, its link at full speed, and its manager operating."""
    function = machine.find(word)
    return machine.with_function(structs.replace(function, devices=tuple(_sound(device) for device in function.devices)))


def offline(machine: Machine, word: str, *, away: bool = True) -> Machine:
    """With a card of XRT that its driver has taken offline."""
    function = machine.find(word)
    device = _device(function, word, lambda device: "dev_offline" in device.attributes)
    return _with(machine, function, device, {"dev_offline": int(away)})


def hot(machine: Machine, word: str, degrees: float) -> Machine:
    """At a temperature, in °C."""
    function = machine.find(word)
    sensor = _device(function, word, lambda device: "temp1_input" in device.attributes or _TEMPERATURE in device.attributes)
    if _TEMPERATURE in sensor.attributes:
        return _with(machine, function, sensor, {_TEMPERATURE: round(degrees)})
    value = round(degrees * 1000)
    alarms: dict[str, object] = {
        f"temp1_{limit}_alarm": int(value >= int(str(sensor.attributes[f"temp1_{limit}"])))
        for limit in ("max", "crit")
        if f"temp1_{limit}_alarm" in sensor.attributes
    }
    return _with(machine, function, sensor, alarms | {"temp1_input": value})


def restored(machine: Machine, word: str, beginning: Machine) -> Machine:
    """With a function and its VFs as in the beginning."""
    back = beginning.find(word).id
    kept = tuple(one for one in machine.functions if back not in {one.id, one.pf})
    fresh = tuple(one for one in beginning.functions if back in {one.id, one.pf})
    return structs.replace(machine, functions=(*kept, *fresh))


def hanging(machine: Machine, word: str, *, hangs: bool) -> Machine:
    """With a card that answers no more, or answers again."""
    function = machine.find(word)
    paths = [f"{device.path}/{name}" for device in function.devices for name in QUERIED if name in device.attributes]
    spoilt = {path: trouble for path, trouble in function.spoilt.items() if path not in paths}
    if hangs:
        spoilt |= dict.fromkeys(paths, Trouble.HANGS)
    return machine.with_function(structs.replace(function, spoilt=spoilt))


_TEMPERATURE = "thermal_mgmt/temperature"
"""Of a card by OPAE's drivers, in °C."""


def _sound(device: Device) -> Device:
    healthy: dict[str, object] = {}
    for name in device.attributes:
        if name.startswith((_REGISTER, "ap")):
            healthy[name] = _zero(name)
    if "power_state" in device.attributes:
        healthy["power_state"] = "0x0"
    if "dev_offline" in device.attributes:
        healthy["dev_offline"] = 0
    if "temp1_input" in device.attributes:
        healthy |= {"temp1_input": 45_000} | {name: 0 for name in device.attributes if name.endswith("_alarm")}
    if _TEMPERATURE in device.attributes:
        healthy[_TEMPERATURE] = 45
    if device.home == "class/fpga_manager" and device.attributes["state"] != "unknown":
        healthy |= {"state": "operating", "status": b""}
    return device.with_attributes(healthy)


def _zero(name: str) -> str:
    return f"0x{0:032x}" if name.endswith("malformed_req") else "0" if name.startswith("ap") else "0x0"


def _named_first(function: Function, word: str) -> list[Device]:
    return sorted(function.devices, key=lambda device: device.name != word)


def _device(function: Function, word: str, fits: Callable[[Device], bool], what: str = "") -> Device:
    for device in _named_first(function, word):
        if fits(device):
            return device
    raise KeyError(f"{word} with {what}" if what else word)


def _with(machine: Machine, function: Function, device: Device, attributes: Mapping[str, object]) -> Machine:
    changed = device.with_attributes(attributes)
    return machine.with_function(
        structs.replace(function, devices=tuple(changed if old.path == device.path else old for old in function.devices))
    )

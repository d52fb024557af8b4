"""What happens to machines: each function makes the machine after it. They raise ``KeyError`` for what the machine has not."""

import re
from collections.abc import Callable, Mapping

from msgspec import structs

from supervisor import Trouble
from supervisor_fpga.simulate.embedded import STATES
from supervisor_fpga.simulate.machine import Device, Function, Machine

_PROGRAMS = ("afu_id", "xclbinuuid")
"""Attributes that say what is programmed."""
_REGISTER = "errors/"
_PORT = re.compile(r"/port([0-9]{1,3})\Z")
_TEMPERATURE = "thermal_mgmt/temperature"
"""Of a card by OPAE's drivers, in °C."""
QUERIED = (
    *_PROGRAMS,
    "id",
    "ports_num",
    "power_state",
    "bitstream_id",
    "bitstream_metadata",
    "pr/interface_id",
    "status",
    "temp1_input",
    "power1_input",
    "serial_num",
    _TEMPERATURE,
)
"""The attributes for which the kernel asks the hardware, besides the error registers."""


def is_written(name: str) -> bool:
    """Whether who operates FPGAs may change this attribute."""
    return name in {*_PROGRAMS, "state", "status", "firmware", "flags", "key"} or name.startswith(_REGISTER)


def programmed(machine: Machine, word: str, program: str) -> Machine:
    """With something else programmed: no event tells of it. A port by its kernel name, else the first of its function.

    What is programmed in an embedded FPGA cannot be read: there it is the manager that operates.
    """
    function = machine.find(word)
    changed: dict[str, Device] = {}
    for device in _named_first(function, word):
        told = [name for name in _PROGRAMS if name in device.attributes]
        if told and not changed:
            changed[device.path] = device.having(**{told[0]: program})
    for device in function.devices:
        if device.home == "class/fpga_manager":
            changed[device.path] = device.having(state="operating", status=b"")
    if not changed:
        raise KeyError(word)
    return _with(machine, function, changed)


def in_state(machine: Machine, word: str, state: str, *status: str) -> Machine:
    """With a manager in a state, and what it reports of it. Raises ``ValueError`` for a state that no manager knows."""
    if state not in STATES:
        raise ValueError(f"there is no state {state!r}; there are {', '.join(STATES)}")
    function = machine.find(word)
    manager = _device(function, word, lambda device: device.home == "class/fpga_manager")
    lines = "".join(f"{line}\n" for line in status).encode()
    return _with(machine, function, {manager.path: manager.with_attributes({"state": state, "status": lines})})


def failing(machine: Machine, word: str, register: str, value: int) -> Machine:
    """With a value in an error register: ``port/errors``, ``fme/catfatal_errors``, and so on."""
    function = machine.find(word)
    kind, _, name = register.partition("/")
    path = _REGISTER + name
    device = _device(function, word, lambda device: f"-{kind}." in device.name and path in device.attributes, register)
    return _with(machine, function, {device.path: device.with_attributes({path: f"0x{value:x}"})})


def without_errors(machine: Machine, word: str) -> Machine:
    """With all error registers of a function at 0."""
    function = machine.find(word)
    return _with(machine, function, {device.path: _without_errors(device) for device in function.devices})


def cleared(machine: Machine, word: str) -> Machine:
    """With nothing wrong in a function: no errors, at its usual temperature, its driver content, and its manager operating."""
    function = machine.find(word)
    return _with(machine, function, {device.path: _sound(_without_errors(device)) for device in function.devices})


def offline(machine: Machine, word: str, *, away: bool = True) -> Machine:
    """With a card of XRT that its driver has taken offline."""
    function = machine.find(word)
    device = _device(function, word, lambda device: "dev_offline" in device.attributes)
    return _with(machine, function, {device.path: device.with_attributes({"dev_offline": int(away)})})


def hot(machine: Machine, word: str, degrees: float) -> Machine:
    """At a temperature, in °C."""
    function = machine.find(word)
    sensor = _device(function, word, lambda device: "temp1_input" in device.attributes or _TEMPERATURE in device.attributes)
    if _TEMPERATURE in sensor.attributes:
        return _with(machine, function, {sensor.path: sensor.with_attributes({_TEMPERATURE: round(degrees)})})
    value = round(degrees * 1000)
    alarms: dict[str, object] = {
        f"temp1_{limit}_alarm": int(value >= int(str(sensor.attributes[f"temp1_{limit}"])))
        for limit in ("max", "crit")
        if f"temp1_{limit}_alarm" in sensor.attributes
    }
    return _with(machine, function, {sensor.path: sensor.with_attributes(alarms | {"temp1_input": value})})


def restored(machine: Machine, word: str, beginning: Machine) -> Machine:
    """With a function and its VFs as in the beginning."""
    back = beginning.find(word).id
    kept = tuple(one for one in machine.functions if back not in {one.id, one.pf})
    fresh = tuple(one for one in beginning.functions if back in {one.id, one.pf})
    return structs.replace(machine, functions=(*kept, *fresh))


def hanging(machine: Machine, word: str, *, hangs: bool) -> Machine:
    """With a card that answers no more, or answers again."""
    function = machine.find(word)
    paths = [f"{device.path}/{name}" for device in function.devices for name in device.attributes if _is_asked(name)]
    spoilt = {path: trouble for path, trouble in function.spoilt.items() if path not in paths}
    if hangs:
        spoilt |= dict.fromkeys(paths, Trouble.HANGS)
    return machine.with_function(structs.replace(function, spoilt=spoilt))


def _is_asked(name: str) -> bool:
    return name in QUERIED or name.startswith(_REGISTER)


def _without_errors(device: Device) -> Device:
    return device.with_attributes({name: _zero(name) for name in device.attributes if name.startswith(_REGISTER)})


def _zero(register: str) -> str:
    return f"0x{0:032x}" if register.endswith("malformed_req") else "0x0"


def _sound(device: Device) -> Device:
    usual = {"power_state": "0x0", "dev_offline": 0, "temp1_input": 45_000, _TEMPERATURE: 45}
    healthy = {name: value for name, value in usual.items() if name in device.attributes}
    healthy |= {name: 0 for name in device.attributes if name.endswith("_alarm")}
    if device.home == "class/fpga_manager" and device.attributes["state"] != "unknown":
        healthy |= {"state": "operating", "status": b""}
    return device.with_attributes(healthy)


def _named_first(function: Function, word: str) -> list[Device]:
    """Its devices, first that which goes by this name, or is this port (``0000:3b:00.0/port1``)."""
    port = int(found[1]) if (found := _PORT.search(word)) else None
    return sorted(
        function.devices, key=lambda device: word != device.name and (port is None or device.attributes.get("id") != port)
    )


def _device(function: Function, word: str, fits: Callable[[Device], bool], what: str = "") -> Device:
    for device in _named_first(function, word):
        if fits(device):
            return device
    raise KeyError(f"{word} with {what}" if what else word)


def _with(machine: Machine, function: Function, changed: Mapping[str, Device]) -> Machine:
    """With other devices in the place of those with their paths."""
    devices = tuple(changed.get(device.path, device) for device in function.devices)
    return machine.with_function(structs.replace(function, devices=devices))

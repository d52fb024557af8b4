"""What an isolated plugin answered, made into the objects that a plugin in our own process would have returned.

A part that breaks the contract is left for the same check, and the same complaint, as any plugin's. All raise msgspec's errors
for what is no message at all.
"""

import contextlib
from collections.abc import Mapping
from typing import Any

import msgspec

from supervisor.isolation import frames
from supervisor.model import Device, MetricFamily, Sample

_DEVICE = msgspec.msgpack.Decoder(Device)


class _RawSeen(frames.Seen, frozen=True):
    resources: dict[str | int | float | bool | None, msgspec.Raw]


def seen(raw: msgspec.Raw, before: Mapping[Any, Any]) -> frames.Seen:
    """What a look gave; devices that equal those of the look ``before`` are the same objects."""
    look = msgspec.msgpack.decode(raw, type=_RawSeen)
    resources = {name: _devices(devices, before.get(name)) for name, devices in look.resources.items()}
    return frames.Seen(resources, look.subsystems, look.pre_start_required, look.notices)


def _devices(raw: msgspec.Raw, before: Any) -> Any:
    try:
        listed = msgspec.msgpack.decode(raw, type=list[msgspec.Raw])
    except msgspec.ValidationError:
        return msgspec.msgpack.decode(raw)
    devices = before if isinstance(before, list) else ()
    known = {device.id: device for device in devices if type(device) is Device and type(device.id) is str}
    return [_device(each, known) for each in listed]  # one by one: other threads must not wait for a big look


def _device(raw: msgspec.Raw, known: Mapping[str, Device]) -> Any:
    try:
        device = _DEVICE.decode(raw)
    except msgspec.ValidationError:
        return struct(raw, Device)
    old = known.get(device.id)
    return old if old == device else device


def families(raw: msgspec.Raw) -> Any:
    """What a plugin measured."""
    try:
        listed = msgspec.msgpack.decode(raw, type=list[msgspec.Raw])
    except msgspec.ValidationError:
        return msgspec.msgpack.decode(raw)
    return [_family(each) for each in listed]


def _family(raw: msgspec.Raw) -> Any:
    family = struct(raw, MetricFamily)
    if type(family) is MetricFamily and isinstance(family.samples, list):
        return msgspec.structs.replace(family, samples=tuple(_made(sample, Sample) for sample in family.samples))
    return family


def structs(raw: msgspec.Raw, kind: type[msgspec.Struct]) -> Any:
    """A list of values of ``kind``, each by itself valid or not."""
    try:
        listed = msgspec.msgpack.decode(raw, type=list[msgspec.Raw])
    except msgspec.ValidationError:
        return msgspec.msgpack.decode(raw)
    return [struct(each, kind) for each in listed]


def struct(raw: msgspec.Raw, kind: type[msgspec.Struct]) -> Any:
    """A value of ``kind``, valid or not: a struct checks nothing when it is made, and its user says best what is wrong with it."""
    try:
        return msgspec.msgpack.decode(raw, type=kind)
    except msgspec.ValidationError:
        return _made(msgspec.msgpack.decode(raw), kind)


def _made(value: Any, kind: type[msgspec.Struct]) -> Any:
    if isinstance(value, dict) and value.keys() <= set(kind.__struct_fields__):
        with contextlib.suppress(TypeError):  # a field without a default is missing
            return kind(**value)
    return value

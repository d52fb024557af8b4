"""What an isolated plugin answered, made into the objects that a plugin in our own process would have returned."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from supervisor.errors import PluginFailed
from supervisor.isolation import frames
from supervisor.model import Device


class _GoodSeen(frames.Seen, frozen=True):
    resources: dict[str, list[Device]]


class _DoubtfulSeen(frames.Seen, frozen=True):
    resources: dict[str | int | float | bool | None, msgspec.Raw]


def seen(raw: msgspec.Raw, before: Mapping[Any, Sequence[Device]]) -> frames.Seen:
    """What a look gave. Where a part of it breaks the contract, that part is left to be quarantined like any plugin's."""
    try:
        look: frames.Seen = msgspec.msgpack.decode(raw, type=_GoodSeen)
        resources = {name: _reused(devices, before.get(name, ())) for name, devices in look.resources.items()}
    except msgspec.MsgspecError:
        look = decoded(raw, _DoubtfulSeen)
        resources = {name: _devices(devices) for name, devices in look.resources.items()}
    return frames.Seen(resources, look.subsystems, look.pre_start_required, look.notices)


def _reused(devices: list[Device], before: Sequence[Device]) -> list[Device]:
    known = {device.id: device for device in before if type(device) is Device and isinstance(device.id, str)}
    return [old if (old := known.get(device.id)) == device and old is not None else device for device in devices]


def _devices(raw: msgspec.Raw) -> Any:
    try:
        listed = msgspec.msgpack.decode(raw, type=list[msgspec.Raw])
    except msgspec.MsgspecError:
        return decoded(raw, Any)
    return [struct(device, Device) for device in listed]


def struct(raw: msgspec.Raw, kind: type[msgspec.Struct]) -> Any:
    """A value of ``kind``, valid or not: a struct checks nothing when it is made, and its user says best what is wrong with it."""
    try:
        return msgspec.msgpack.decode(raw, type=kind)
    except msgspec.MsgspecError:
        value = decoded(raw, Any)
    if isinstance(value, dict) and value.keys() <= set(kind.__struct_fields__):
        with contextlib.suppress(TypeError):  # a field without a default is missing
            return kind(**value)
    return value


def decoded(raw: msgspec.Raw, kind: Any) -> Any:
    try:
        return msgspec.msgpack.decode(raw, type=kind)
    except msgspec.MsgspecError as error:
        raise PluginFailed(f"its process answered nonsense: {error}") from error

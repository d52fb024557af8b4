"""What a plugin said, checked device by device: the border between plugin code and everything the kubelet sees."""

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Self, TypeVar, get_args

import msgspec

from supervisor.model import (
    AbsolutePath,
    AnnotationName,
    CdiName,
    Claim,
    ContainerEdits,
    Device,
    DeviceId,
    EnvName,
    EnvValue,
    Health,
    MetricFamily,
    MetricName,
    Permissions,
)
from supervisor.pieces import pieces

T = TypeVar("T")

_VENDOR_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_RESOURCE_NAME = re.compile(rf"{_VENDOR_LABEL}(\.{_VENDOR_LABEL})*/[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?")

MAX_RESOURCES = 1_000
"""Resource names that one look may return; a plugin that returns more is taken to be broken."""
MAX_DEVICES = 100_000
"""Devices of one resource. The kubelet's message limit comes first (about 70 000 short ids)."""

_CHUNK = 256

_WORDS = {
    meta.pattern: meta.description
    for annotated in (AbsolutePath, AnnotationName, CdiName, Claim, DeviceId, EnvName, EnvValue, MetricName, Permissions)
    for meta in get_args(annotated)[1:]
}
"""What each pattern of the model asks for."""


class Quarantined(msgspec.Struct, frozen=True):
    """A device, or a whole resource (``device`` is empty), that cannot be offered as the plugin described it."""

    resource: str
    device: str
    reason: str


class Inventory(msgspec.Struct, frozen=True, gc=False):
    """All devices of one resource at one moment, in the plugin's order, with ids that are unique."""

    resource: str
    devices: tuple[Device, ...]
    index: Mapping[str, int]
    """Device id to position in ``devices``."""
    pre_start_required: bool = False
    shared: bool = False
    """Whether a device of it has a claim."""

    @classmethod
    def of(cls, resource: str, devices: Iterable[Device], *, pre_start_required: bool = False) -> Self:
        """Build from devices that are known to be valid and to differ in id."""
        listed = tuple(devices)
        index = {device.id: at for at, device in enumerate(listed)}
        return cls(resource, listed, index, pre_start_required, any(device.claim for device in listed))

    def get(self, device_id: str) -> Device | None:
        at = self.index.get(device_id)
        return None if at is None else self.devices[at]

    def same_list(self, other: "Inventory | None") -> bool:
        """Whether the kubelet and a container would see no difference."""
        if other is None or (self.pre_start_required, len(self.devices)) != (other.pre_start_required, len(other.devices)):
            return False
        return all(ours == theirs for ours, theirs in zip(pieces(self.devices), pieces(other.devices), strict=True))


class Look(msgspec.Struct, frozen=True):
    """What one look at the hardware gave: an inventory for each resource, and what had to be left out."""

    inventories: Mapping[str, Inventory]
    quarantined: tuple[Quarantined, ...] = ()
    notices: tuple[str, ...] = ()
    """What the plugin waits for or cannot see, in its own words."""
    subsystems: frozenset[str] = frozenset()
    """Kernel subsystems whose events are to start a look."""
    families: tuple[MetricFamily, ...] = ()
    """What the plugin measured."""


_EDITS_CHECK = msgspec.msgpack.Decoder(ContainerEdits)
_CHUNK_CHECK = msgspec.msgpack.Decoder(tuple[Device, ...])
_DEVICE_CHECK = msgspec.msgpack.Decoder(Device)


def resource_name_problem(name: object) -> str | None:
    """Why the kubelet would refuse this extended resource name, or ``None``.

    The rules are those of ``IsExtendedResourceName`` in ``pkg/apis/core/v1/helper``: a vendor domain of at most 244
    characters, one slash, a name of at most 63, and none of the names that Kubernetes keeps for itself.
    """
    if not isinstance(name, str):
        return f"a resource name is a string, not {type(name).__name__}"
    if "/" not in name:
        return "it has no vendor domain: write vendor.example/name"
    if "kubernetes.io/" in name:
        return "kubernetes.io/ is reserved for Kubernetes"
    if name.startswith("requests."):
        return "it must not start with 'requests.'"
    if len(name.partition("/")[0]) > 244:
        return "its vendor domain is longer than 244 characters"
    if not _RESOURCE_NAME.fullmatch(name):
        return "it must be a lower-case DNS domain, one slash, and 1 to 63 of [A-Za-z0-9-_.] that begin and end alphanumeric"
    return None


def check_look(found: object, trusted: Mapping[str, Inventory] | None = None) -> Look:
    """Turn what ``discover()`` returned into inventories; whatever is impossible is quarantined with its reason.

    ``trusted`` holds the last inventories: devices that are the same objects as there are not checked again.
    Raises ``TypeError`` when the answer as a whole is not a mapping of resource names.
    """
    if not isinstance(found, Mapping):
        raise TypeError(f"discover() must return a mapping of resource name to devices, not {type(found).__name__}")
    if len(found) > MAX_RESOURCES:
        raise TypeError(f"discover() returned {len(found)} resources; the limit is {MAX_RESOURCES}")
    inventories: dict[str, Inventory] = {}
    quarantined: list[Quarantined] = []
    owner_of: dict[str, str] = {}
    for resource, devices in found.items():
        if problem := resource_name_problem(resource):
            quarantined.append(Quarantined(_label(resource), "", problem))
            continue
        known = trusted.get(resource) if trusted else None
        try:
            listed = list(islice(iter(devices), MAX_DEVICES + 1))
        except TypeError:
            quarantined.append(Quarantined(resource, "", f"its devices are {type(devices).__name__}, not a list of Device"))
            continue
        if len(listed) > MAX_DEVICES:
            quarantined.append(Quarantined(resource, "", f"it has more than {MAX_DEVICES} devices"))
            continue
        good = _check_devices(resource, listed, known, owner_of, quarantined)
        inventories[resource] = Inventory.of(resource, good)
    return Look(inventories, tuple(quarantined))


def _check_devices(
    resource: str, listed: list[Any], known: Inventory | None, owner_of: dict[str, str], quarantined: list[Quarantined]
) -> list[Device]:
    good: list[Device] = []
    for chunk in pieces(listed, _CHUNK):
        for device, problem in _checked(chunk, known):
            if problem is None and device.health is Health.OCCUPIED:
                problem = "health: Occupied is said by the supervisor alone; name the shared hardware in claim"
            problem = problem or _id_problem(device.id, resource, owner_of)
            if problem is None:
                owner_of[device.id] = resource
                good.append(device)
            else:
                quarantined.append(Quarantined(resource, _label(device.id if type(device) is Device else device), problem))
    return good


def _id_problem(device_id: str, resource: str, owner_of: Mapping[str, str]) -> str | None:
    owner = owner_of.get(device_id)
    if owner is None:
        return None
    where = "twice in this resource" if owner == resource else f"also in {owner}"
    return f"its id is listed {where}; the kubelet tells devices apart by id alone"


def _checked(chunk: Sequence[Any], known: Inventory | None) -> Iterable[tuple[Any, str | None]]:
    """Each device with what is wrong with it. One check in C for the whole chunk; one by one only where that fails."""
    unseen = [device for device in chunk if not _is_known(device, known)]
    if all(type(device) is Device and type(device.health) is Health for device in unseen):
        with contextlib.suppress(ValueError):
            if plain(unseen, _CHUNK_CHECK) == tuple(unseen):
                return [(device, None) for device in chunk]
    return [_checked_device(device) for device in chunk]


def _is_known(device: Any, known: Inventory | None) -> bool:
    return known is not None and type(device) is Device and type(device.id) is str and known.get(device.id) is device


def _checked_device(device: Any) -> tuple[Any, str | None]:
    if type(device) is not Device:
        return device, f"it is {type(device).__name__}, not Device"
    try:
        return plain(device, _DEVICE_CHECK), None
    except ValueError as error:
        return device, str(error)


def checked_edits(edits: object) -> ContainerEdits:
    """An answer of a plugin's ``allocate``. Raises ``ValueError`` with what is wrong with it."""
    if type(edits) is not ContainerEdits:
        raise ValueError(f"it is {type(edits).__name__}, not ContainerEdits")
    return plain(edits, _EDITS_CHECK)


def edits_problem(edits: object) -> str | None:
    """What is wrong with an answer of a plugin's ``allocate``, or ``None``."""
    try:
        checked_edits(edits)
    except ValueError as error:
        return str(error)
    return None


def plain(value: object, decoder: "msgspec.msgpack.Decoder[T]") -> T:
    """The value in the model's own types: a plugin may have put there what is only spelt alike, such as ``"Healthy"``.

    Raises ``ValueError`` where it breaks a constraint.
    """
    try:
        return decoder.decode(msgspec.msgpack.encode(value))
    except (msgspec.ValidationError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(_in_words(str(error))) from error


def _in_words(error: str) -> str:
    """What msgspec said, for people: the field first, and no regular expressions."""
    what, _, path = error.partition(" - at ")
    for pattern, words in _WORDS.items():
        if f"regex {pattern!r}" in what:
            what = f"Expected {words}"
    field = path.replace("`", "").replace("key in", "a key of").replace("$.", "")
    return f"{field}: {what}" if field else what


def _label(value: object) -> str:
    """A short printable name of something that may be anything."""
    text = value if isinstance(value, str) else f"<{type(value).__name__}>"
    return "".join(character if character.isprintable() else "?" for character in text[:80])

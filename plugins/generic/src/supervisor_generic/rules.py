"""Selectors made ready to look: each finds things in a view of the host, and can say why it refuses one."""

import abc
import operator
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping

from msgspec import Struct

from supervisor import HostDevice, HostNode, HostView, glob_pattern
from supervisor_generic.config import ParentMatch, Selector, UdevMatch, UsbMatch
from supervisor_generic.identity import Identities, Identity

ANY_SUBSYSTEM = "*"

KERNEL_PROPERTIES = frozenset({
    *("SUBSYSTEM", "DRIVER", "DEVPATH", "DEVNAME", "DEVTYPE", "MAJOR", "MINOR", "MODALIAS", "PRODUCT", "TYPE", "INTERFACE"),
    *("IFINDEX", "BUSNUM", "DEVNUM", "PCI_CLASS", "PCI_ID", "PCI_SUBSYS_ID", "PCI_SLOT_NAME", "PARTN", "PARTNAME", "NAME"),
    *("PHYS", "UNIQ", "PROP", "EV", "KEY", "HID_ID", "HID_NAME", "HID_PHYS", "HID_UNIQ", "OF_NAME", "OF_FULLNAME"),
})  # fmt: skip
"""Properties that come from the kernel; all others are udev's, unless a device shows otherwise."""

Condition = Callable[[HostDevice], str | None]
"""Why a device is refused, or ``None``."""


class Found(Struct, frozen=True):
    """One thing that a selector took."""

    name: str
    """As it was found, perhaps by a link."""
    path: str
    """The node or file itself, without links."""
    identity: Identity
    problem: str = ""
    """Why it cannot be used now."""
    device: HostDevice | None = None
    """The device of the kernel, where there is one."""


class Rule(abc.ABC):
    """A selector at work."""

    def __init__(self, words: str) -> None:
        self.words = words
        """The selector in words, for people and for the identity of what it finds together."""

    @abc.abstractmethod
    def find(self, view: HostView, identities: Identities) -> list[Found]:
        """All that it takes, each thing once, in natural order."""

    @abc.abstractmethod
    def refusal(self, view: HostView, path: str, device: HostDevice | None) -> str | None:
        """Why it does not take a node or device; ``None`` where it does."""

    @abc.abstractmethod
    def subsystems(self, found: Iterable[Found]) -> set[str]:
        """The subsystems whose events may change what it finds, judged by what it found last."""

    def blind(self, view: HostView) -> str | None:
        """Why it cannot see now what it looks for."""
        return None


def make_rule(selector: Selector) -> Rule:
    """The rule for a selector of the configuration."""
    if selector.path is not None:
        return PathRule(selector.path)
    if selector.mount is not None:
        return MountRule(selector.mount)
    if selector.udev is not None:
        return UdevRule(selector.udev)
    assert selector.usb is not None  # exactly one is given
    return UsbRule(selector.usb)


def _found(node: HostNode, device: HostDevice | None, identities: Identities) -> Found:
    problem = "" if node.is_device else f"{node.name} is a {node.kind}, not a device node"
    if device is not None and node.is_device and device.number is not None and device.number != node.number:
        problem = "{} is {}:{}, but the kernel's {} is {}:{}".format(
            node.name, *(node.number or ()), device.name, *device.number
        )
    return Found(
        name=node.name,
        path=node.path,
        identity=identities.of(node, device),
        problem=problem,
        device=device,
    )


class PathRule(Rule):
    """Device nodes by the pattern of their path."""

    def __init__(self, pattern: str) -> None:
        super().__init__(f"path {pattern}")
        self._pattern = pattern
        self._is_exact = not any(character in pattern for character in "*?[")

    def _nodes(self, view: HostView) -> Iterator[HostNode]:
        for name in view.glob(self._pattern):
            node = view.node(name)
            # What a pattern merely sweeps up and nobody takes for a device is passed over; what is named in full is not.
            if node is not None and (self._is_exact or node.is_device or node.kind == "regular file"):
                yield node

    def find(self, view: HostView, identities: Identities) -> list[Found]:
        """As in ``Rule``; where several names lead to one node, its own name is preferred, then the first link."""
        nodes: dict[str, HostNode] = {}
        for node in self._nodes(view):
            if node.path not in nodes or node.name == node.path:
                nodes[node.path] = node
        return [_found(node, view.device_of(node), identities) for node in nodes.values()]

    def refusal(self, view: HostView, path: str, device: HostDevice | None) -> str | None:
        """As in ``Rule``; a node is taken under any of its names."""
        if any(path in {node.name, node.path} for node in self._nodes(view)):
            return None
        return f"{path} does not match"

    def subsystems(self, found: Iterable[Found]) -> set[str]:
        """The subsystem of what was found; any, where nothing was found, a node belongs to none, or a pattern may find more.

        One directory may hold nodes of several subsystems: in ``/dev/vfio``, VFIO's own is ``misc``, those of groups are not.
        """
        if not self._is_exact:
            return {ANY_SUBSYSTEM}
        known = {None if thing.device is None else thing.device.subsystem for thing in found}
        return {subsystem or ANY_SUBSYSTEM for subsystem in known} or {ANY_SUBSYSTEM}


class MountRule(Rule):
    """Files, directories, sockets: whatever lies at the paths."""

    def __init__(self, pattern: str) -> None:
        super().__init__(f"mount {pattern}")
        self._pattern = pattern

    def find(self, view: HostView, identities: Identities) -> list[Found]:
        """As in ``Rule``. The name is mounted as it is: a container sees what a link leads to at that moment."""
        return [
            Found(name, name, Identity(f"mount {name}", posixpath.basename(name)))
            for name in view.glob(self._pattern)
            if view.node(name) is not None
        ]

    def refusal(self, view: HostView, path: str, device: HostDevice | None) -> str | None:
        """As in ``Rule``."""
        return None if path in view.glob(self._pattern) else f"{path} does not match"

    def subsystems(self, found: Iterable[Found]) -> set[str]:
        """None: files appear without events; the timed look finds them."""
        return set()


class UdevRule(Rule):
    """Devices of one subsystem that meet conditions, and have a device node."""

    def __init__(self, match: UdevMatch, words: str = "", *conditions: Condition) -> None:
        super().__init__(words or f"udev {_in_words(match)}")
        self._subsystem = match.subsystem
        self._names = match.name or "*"
        self._tags = match.tags
        self._properties = tuple(match.properties)
        self._watches_usb = match.usb is not None
        self._conditions = (*conditions, *_conditions(match))

    def find(self, view: HostView, identities: Identities) -> list[Found]:
        """As in ``Rule``; a device whose node is not there yet is passed over."""
        if self.blind(view) is not None:
            return []
        taken = (d for d in view.devices(self._subsystem, self._names) if d.node is not None and self._objection(d) is None)
        nodes = ((view.node(device.node or ""), device) for device in taken)
        return [_found(node, device, identities) for node, device in nodes if node is not None]

    def _objection(self, device: HostDevice) -> str | None:
        return next(filter(None, (condition(device) for condition in self._conditions)), None)

    def refusal(self, view: HostView, path: str, device: HostDevice | None) -> str | None:
        """As in ``Rule``."""
        if (blind := self.blind(view)) is not None:
            return blind
        if device is None:
            return "the kernel shows no device of that name in sysfs"
        if device not in view.devices(self._subsystem):
            return f"its subsystem is {device.subsystem}, not {self._subsystem}"
        if (objection := self._objection(device)) is not None:
            return objection
        if device.node is None:
            return "it has no device node"
        return None if view.node(device.node) is not None else f"its device node {device.node} is not there"

    def subsystems(self, found: Iterable[Found]) -> set[str]:
        """The one it looks in, and USB where it asks for facts of a USB device."""
        return {self._subsystem, "usb"} if self._watches_usb else {self._subsystem}

    def blind(self, view: HostView) -> str | None:
        """Whether it needs the udev database and there is none."""
        if not (self._tags or self._properties) or view.udev_database_available():
            return None
        shown = {name for device in view.devices(self._subsystem) for name in device.uevent} | KERNEL_PROPERTIES
        needs = [f"tag {tag}" for tag in self._tags] + [f"property {n}" for n in self._properties if n not in shown]
        if not needs:
            return None
        return f"{', '.join(needs)} can only be seen in the host's udev database, and /run/udev of the host is not there"


class UsbRule(UdevRule):
    """Whole USB devices: their nodes are ``/dev/bus/usb/BUS/DEVICE``."""

    def __init__(self, match: UsbMatch) -> None:
        words = f"usb {_in_words(match)}"
        super().__init__(UdevMatch(subsystem="usb", usb=match), words, _is_whole_usb_device)


def _is_whole_usb_device(device: HostDevice) -> str | None:
    return None if device.devtype == "usb_device" else f"it is a {device.devtype}, not a usb_device"


def _in_words(section: Struct) -> str:
    """The given fields of a section of the configuration, on one line."""
    words: list[str] = []
    for field in section.__struct_fields__:
        match getattr(section, field):
            case None | () | "":
                continue
            case Struct() as inner:
                words.append(f"{field}({_in_words(inner)})")
            case Mapping() as pairs:
                words += [f"{key}={value}" for key, value in sorted(pairs.items())]
            case tuple() as several:
                words += [f"{field}={value}" for value in several]
            case value:
                words.append(f"{field}={value}")
    return " ".join(words)


def _conditions(match: UdevMatch) -> Iterator[Condition]:
    """One for each given field, the cheap ones first."""
    if match.name is not None:
        yield _text("its name", lambda device: device.name, match.name)
    for name, pattern in match.properties.items():
        yield _text(f"its property {name}", _property(name), pattern)
    for tag in match.tags:
        yield _tag(tag)
    if match.driver is not None:
        yield _text("its driver", _nearest_driver, match.driver)
    if match.usb is not None:
        yield from _usb_conditions(match.usb)
    for name, pattern in match.attributes.items():
        yield _text(f"its attribute {name}", _attribute(name), pattern)
    if match.parent is not None:
        yield _parent_condition(match.parent)


def _text(what: str, value_of: Callable[[HostDevice], str | None], pattern: str) -> Condition:
    matches = glob_pattern(pattern).match

    def condition(device: HostDevice) -> str | None:
        value = value_of(device)
        if value is None:
            return f"{what} is not there; {pattern!r} is asked for"
        return None if matches(value) else f"{what} is {value!r}, not {pattern!r}"

    return condition


def _property(name: str) -> Callable[[HostDevice], str | None]:
    return lambda device: device.properties.get(name)


def _attribute(name: str) -> Callable[[HostDevice], str | None]:
    return lambda device: device.attribute(name)


def _tag(tag: str) -> Condition:
    return lambda device: None if tag in device.tags else f"it does not carry the tag {tag}"


def _nearest_driver(device: HostDevice) -> str | None:
    return next((d.driver for d in device.lineage() if d.driver is not None), None)


def _usb_conditions(match: UsbMatch) -> Iterator[Condition]:
    yield lambda device: None if device.usb is not None else "it does not belong to a USB device"
    asked = {"vendor": match.vendor, "product": match.product, "serial": match.serial, "port": match.port}
    for field, pattern in asked.items():
        if pattern is not None:
            wanted = pattern.lower() if field in {"vendor", "product"} else pattern
            yield _text(f"its USB {field}", operator.attrgetter(f"usb.{field}"), wanted)


def _parent_condition(match: ParentMatch) -> Condition:
    conditions: list[Condition] = []
    if match.subsystem is not None:
        conditions.append(_text("the subsystem", lambda device: device.subsystem, match.subsystem))
    if match.name is not None:
        conditions.append(_text("the name", lambda device: device.name, match.name))
    if match.driver is not None:
        conditions.append(_text("the driver", lambda device: device.driver, match.driver))
    for name, pattern in match.attributes.items():
        conditions.append(_text(name, _attribute(name), pattern))

    def condition(device: HostDevice) -> str | None:
        ancestors = list(device.lineage())[1:]
        if any(all(check(ancestor) is None for check in conditions) for ancestor in ancestors):
            return None
        return f"none of its {len(ancestors)} ancestors is one with {_in_words(match)}"

    return condition

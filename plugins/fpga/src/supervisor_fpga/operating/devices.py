"""The device that an id stands for, found in sysfs: whoever asks names an id, and never a path.

Each id is looked up where it must be, so that no other card is touched.
"""

import os
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from supervisor import natural_order
from supervisor_fpga.operating.gbs import plain_id
from supervisor_fpga.operating.kernel import Node
from supervisor_fpga.operating.outcome import Stopped

ALL_ONES = "f" * 32
"""What hardware says that does not answer any more."""

_OF_DFL = "/dfl-fme."
"""In the paths of what belongs to a card of DFL."""
_USER = "xocl"
"""The driver of Alveo's user functions."""
_PCI = re.compile(r"([0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7])(?:/port([0-9]{1,3}))?")
_NAME = re.compile(r"[A-Za-z0-9][-_.:A-Za-z0-9]{0,62}")
_NUMBERS = re.compile(r"([0-9]{1,7}):([0-9]{1,7})")


class Tree(Struct, frozen=True):
    """Where this process sees the machine."""

    sysfs: str
    dev: str


class Target(Struct, frozen=True, kw_only=True):
    """A device that can be made ready. Paths are of this process; empty where there is none."""

    id: str
    backend: str
    region: str
    """What must not be worked on twice at a time, by a name of this process's own."""
    path: str
    """Its directory."""
    node: Node | None = None
    """To be opened, where that tells whether it is in use and where it takes a reset."""
    number: int = 0
    """Of its port, on its card."""
    engine: Node | None = None
    """The node that takes bitstreams for it (FME)."""
    content: str = ""
    """The file that says what it holds."""
    always_says: bool = False
    """Whether it says so as long as it works, and holds it until it is programmed."""
    interface: str = ""
    """The file with the id that a bitstream has to fit."""
    manager: str = ""
    """The directory of its FPGA manager."""
    pci: str = ""
    registers: tuple[str, ...] = ()
    """Error registers that may be cleared for its sake: files."""

    def afu_id(self) -> str:
        """What it holds now, in 32 digits; empty where it does not say. Raises ``Stopped``."""
        return _identity(self, self.content) if self.always_says else self.said()

    def said(self) -> str:
        """The same; what makes no sense is empty, too."""
        try:
            return plain_id(text(self.content)) if self.content else ""
        except ValueError:
            return ""

    def interface_id(self) -> str:
        """What a bitstream has to fit, in 32 digits; empty where it does not say. Raises ``Stopped``."""
        return _identity(self, self.interface) if self.interface else ""

    def state(self) -> str:
        """Of its manager; empty where there is none."""
        return text(f"{self.manager}/state") if self.manager else ""

    def status(self) -> str:
        """The errors that its manager reports."""
        return ", ".join(text(f"{self.manager}/status").splitlines()) if self.manager else ""


class _Family(Struct, frozen=True):
    """How drivers for Intel's cards name things."""

    home: str
    port: str
    engine: str
    interface: tuple[str, ...]
    """Beginnings of the names on the way from the engine to the interface id."""
    registers: tuple[str, ...]
    """Of the engine, below its ``errors``: those that can be cleared by writing."""


_DFL = _Family(
    "fpga_region",
    "dfl-port.",
    "dfl-fme.",
    ("dfl-fme-region.", "fpga_region", "region", "compat_id"),
    ("fme_errors", "pcie0_errors", "pcie1_errors"),
)
_OPAE = _Family(
    "fpga",
    "intel-fpga-port.",
    "intel-fpga-fme.",
    ("pr", "interface_id"),
    ("fme-errors/errors", "pcie0_errors", "pcie1_errors"),
)


def find(tree: Tree, function: str, backend: str) -> Target:
    """Raises ``Stopped``. May hang."""
    if backend in _FINDERS:
        return _FINDERS[backend](tree, function)
    raise Stopped("refused", f"nothing can be done for functions of the kind {backend[:20]!a}")


def text(path: str) -> str:
    """What an attribute says; empty where it is absent or cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        return ""
    try:
        return os.read(descriptor, 4096).decode(errors="replace").strip()
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def _intel(family: _Family, backend: str) -> Callable[[Tree, str], Target]:
    def finder(tree: Tree, function: str) -> Target:
        pci, wanted = _address(function)
        own = _function(tree, pci)
        carrier = os.path.realpath(f"{own}/physfn") if os.path.lexists(f"{own}/physfn") else own
        ports = {_number(path): path for path in _parts(own, family.home, family.port)}
        number = next(iter(ports), -1) if wanted is None else wanted
        if number not in ports or (wanted is None and len(ports) > 1):
            raise Stopped("failed", f"{function} is no port that is there now")
        path = ports[number]
        engine = next(_parts(carrier, family.home, family.engine), "")
        registers = [f"{path}/errors/errors"]
        # What a card with several ports reports is not this one's to clear, and a VF's card is another's.
        if engine and carrier == own and len(ports) == 1 and text(f"{engine}/ports_num") in {"", "1"}:
            registers += [f"{engine}/errors/{name}" for name in family.registers]
        return Target(
            id=function,
            backend=backend,
            region=f"{posixpath.basename(carrier)}/region{number}",
            path=path,
            content=f"{path}/afu_id",
            always_says=True,
            node=_node(tree, path),
            number=number,
            engine=_node(tree, engine) if engine else None,
            interface=first(engine, family.interface) if engine else "",
            manager=first(engine, ("dfl-fme-mgr.", "fpga_manager", "fpga")) if engine else "",
            pci=pci,
            registers=tuple(registers),
        )

    return finder


def _manager(tree: Tree, function: str) -> Target:
    managers = f"{tree.sysfs}/class/fpga_manager"
    if _PCI.fullmatch(function):
        beneath = f"{_function(tree, _address(function)[0])}/"
        paths = [path for name in _names(managers) if (path := os.path.realpath(f"{managers}/{name}")).startswith(beneath)]
    else:
        paths = [os.path.realpath(f"{managers}/{_named(function)}")]
    if len(paths) != 1 or not Path(paths[0]).is_dir():
        raise Stopped("failed", f"the FPGA manager {function} is not there now")
    if _OF_DFL in paths[0]:
        raise Stopped("refused", f"{function} belongs to a card, which is programmed by its ports")
    regions = f"{tree.sysfs}/class/fpga_region"
    names = [name for name in _names(regions) if os.path.lexists(f"{regions}/{name}/compat_id")]
    interface = f"{regions}/{names[0]}/compat_id" if len(names) == 1 and len(_names(managers)) == 1 else ""
    name = posixpath.basename(paths[0])  # by whichever id it is asked for
    return Target(id=function, backend="manager", region=name, path=paths[0], interface=interface, manager=paths[0])


def _xrt(tree: Tree, function: str) -> Target:
    pci, _ = _address(function)
    path = _function(tree, pci)
    if posixpath.basename(os.path.realpath(f"{path}/driver")) != _USER:
        raise Stopped("refused", f"{function} is no user function of an Alveo card")
    return Target(id=function, backend="xrt", region=pci, path=path, content=f"{path}/xclbinuuid", pci=pci)


def _other(tree: Tree, function: str) -> Target:
    """What only a command knows how to treat."""
    if not _PCI.fullmatch(function):
        return Target(id=_named(function), backend="other", region=function, path="")
    pci, _ = _address(function)
    return Target(id=function, backend="other", region=pci, path=_function(tree, pci), pci=pci)


_FINDERS: Mapping[str, Callable[[Tree, str], Target]] = {
    "dfl": _intel(_DFL, "dfl"),
    "opae": _intel(_OPAE, "opae"),
    "manager": _manager,
    "xrt": _xrt,
    "ma35": _other,
    "declared": _other,
}


def _address(function: str) -> tuple[str, int | None]:
    """The PCI address and the port's number in an id."""
    if (found := _PCI.fullmatch(function)) is None:
        raise Stopped("refused", f"{function[:60]!a} is no id of such a function")
    return found[1], None if found[2] is None else int(found[2])


def _named(function: str) -> str:
    if not _NAME.fullmatch(function):
        raise Stopped("refused", f"{function[:60]!a} is no id of such a function")
    return function


def _function(tree: Tree, pci: str) -> str:
    path = os.path.realpath(f"{tree.sysfs}/bus/pci/devices/{pci}")
    if not Path(path).is_dir():
        raise Stopped("failed", f"there is no PCI function {pci} now")
    return path


def _number(port: str) -> int:
    found = text(f"{port}/id")
    return int(found) if found.isdecimal() else -1


def _parts(function: str, home: str, beginning: str) -> Iterator[str]:
    for base in _names(f"{function}/{home}"):
        for name in _names(f"{function}/{home}/{base}"):
            if name.startswith(beginning):
                yield f"{function}/{home}/{base}/{name}"


def first(path: str, beginnings: tuple[str, ...]) -> str:
    """The first path along names that begin so; empty where there is none."""
    for beginning in beginnings:
        name = next((name for name in _names(path) if name.startswith(beginning)), None)
        if name is None:
            return ""
        path = f"{path}/{name}"
    return path


def _names(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path), key=natural_order)
    except OSError:
        return []


def _node(tree: Tree, path: str) -> Node | None:
    """The character device that a directory of sysfs stands for; the drivers name both alike."""
    found = _NUMBERS.fullmatch(text(f"{path}/dev"))
    return Node(f"{tree.dev}/{posixpath.basename(path)}", path, (int(found[1]), int(found[2]))) if found else None


def _identity(target: Target, path: str) -> str:
    try:
        found = plain_id(text(path))
    except ValueError as error:
        raise Stopped("failed", f"{posixpath.basename(path)} of {target.id}: {error}") from error
    if found == ALL_ONES:
        raise Stopped("failed", f"{target.id} does not answer: {posixpath.basename(path)} is all ones")
    return found

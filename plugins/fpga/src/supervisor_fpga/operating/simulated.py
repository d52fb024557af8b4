"""A kernel whose drivers are not there: it does to the files of a simulated machine what drivers would do to hardware.

A bitstream for it, ``bitstream``, says in its data what it makes of a region.
"""

import ctypes
import errno
import fcntl
import json
import os
import posixpath
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from supervisor_fpga.operating import devices, gbs
from supervisor_fpga.operating.kernel import Node
from supervisor_fpga.operating.outcome import Clock, Stopped
from supervisor_fpga.operating.ways import dfl

_DATA = b"simulated accelerator "


class Simulated:
    """Implements ``Kernel``. Whoever locks a device's directory (``flock``) has the device open."""

    def __init__(self) -> None:
        self._open: dict[int, Node] = {}

    @contextmanager
    def opened(self, node: Node, *, exclusive: bool) -> Iterator[int]:
        descriptor = os.open(node.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if exclusive:
                _lock(descriptor)
            self._open[descriptor] = node
            yield descriptor
        finally:
            self._open.pop(descriptor, None)
            os.close(descriptor)

    def ioctl(self, descriptor: int, request: int, argument: bytes = b"") -> None:
        folder = self._open[descriptor].folder
        if not os.path.lexists(folder):
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        if request == dfl.PORT_PR:
            _reconfigure(folder, argument)
        elif request != dfl.PORT_RESET:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def write(self, path: str, text: str) -> None:
        if not os.path.lexists(path):
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        if "errors" not in path:
            _say(path, text.removesuffix("\0"))
        elif text == devices.text(path):
            _say(path, "0x0")
        else:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if posixpath.basename(path) == "firmware":
            _say(f"{posixpath.dirname(path)}/state", "operating")

    def run(self, arguments: Sequence[str], clock: Clock, lock: int) -> None:
        raise Stopped("refused", f"{posixpath.basename(arguments[0])} knows no simulated cards")


def bitstream(interface_id: str, afu_id: str, data: bytes = b"") -> bytes:
    """A file that fits an interface and makes an accelerator of a simulated region; ``data`` makes it larger."""
    image = {"interface-uuid": interface_id, "accelerator-clusters": [{"accelerator-type-uuid": afu_id}]}
    text = json.dumps({"version": 1, "afu-image": image}).encode()
    return gbs.MAGIC + len(text).to_bytes(4, "little") + text + _DATA + afu_id.encode() + data


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY)) from error


def _reconfigure(engine: str, argument: bytes) -> None:
    """What the region's driver does with an engine's request: look into the memory that it names."""
    _, _, number, size, address = dfl.REQUEST.unpack_from(argument)
    data = ctypes.string_at(address, size)
    manager = devices.first(engine, ("dfl-fme-mgr.", "fpga_manager", "fpga"))
    if not data.startswith(_DATA):
        _say(f"{manager}/state", "write error")
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    afu_id = data[len(_DATA) : len(_DATA) + 32].decode()
    for port in _ports(engine):
        if devices.text(f"{port}/id") == str(number):
            _say(f"{port}/afu_id", afu_id)
    _say(f"{manager}/state", "operating")


def _ports(engine: str) -> Iterator[str]:
    """Those beside an engine, and those of virtual functions of its card."""
    base, carrier = posixpath.dirname(engine), engine.partition("/fpga")[0]
    bases = [base]
    for name in os.listdir(posixpath.dirname(carrier)):
        function = posixpath.join(posixpath.dirname(carrier), name)
        if os.path.realpath(f"{function}/physfn") == carrier:
            bases += [each.path for each in os.scandir(f"{function}/{posixpath.basename(posixpath.dirname(base))}")]
    for path in bases:
        yield from (f"{path}/{name}" for name in os.listdir(path) if "-port." in name)


def _say(path: str, text: str) -> None:
    """Make an attribute say this, where there is one; nobody sees half of it."""
    if os.path.lexists(path):
        Path(f"{path}.new").write_text(f"{text}\n", encoding="utf-8")
        os.replace(f"{path}.new", path)

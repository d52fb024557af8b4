"""What is said over a border: between a program and whoever asks it, and between the helper and whoever wants a program."""

import msgspec


class Start(msgspec.Struct, frozen=True):
    """The first message to a new program: its options, and how many bytes of data it may have."""

    options: msgspec.Raw
    memory: int


class Started(msgspec.Struct, frozen=True, tag=True):
    """The answer to ``Start``: it can be asked."""


class Call(msgspec.Struct, frozen=True):
    """A request, by the name of its type."""

    name: str
    request: msgspec.Raw


class Answer(msgspec.Struct, frozen=True, tag=True):
    """The other side's code returned this, whatever it is; in a stream, sent it."""

    value: msgspec.Raw


class Failure(msgspec.Struct, frozen=True, tag=True):
    """The other side's code raised. ``refused``: it did so on purpose (``AllocationRefused``, ``PluginRefused``)."""

    text: str
    refused: bool = False


class Beat(msgspec.Struct, frozen=True, tag=True):
    """In a stream: the thread that does the work turns."""


class End(msgspec.Struct, frozen=True, tag=True):
    """In a stream: there will be no more."""


class Open(msgspec.Struct, frozen=True):
    """To the helper: start this program."""

    program: str


class Opened(msgspec.Struct, frozen=True, tag=True):
    """The helper's answer; the program's control connection follows as a descriptor. The number is the helper's for it."""

    pid: int


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The helper's other answer."""

    reason: str


class Ended(msgspec.Struct, frozen=True, tag=True):
    """The helper's last message: how the program's process ended, as in ``Process.how``."""

    how: str

"""A program that misbehaves as it is asked to; copied into a distribution of its own by the tests."""

import ctypes
import os
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

import msgspec

from supervisor import AllocationRefused, Outlet, Program, serve_program


class Options(msgspec.Struct, frozen=True):
    greeting: str = "hello"
    does: str = ""
    """What goes wrong before it can be asked."""


class Greet(msgspec.Struct, frozen=True):
    name: str


class Misbehave(msgspec.Struct, frozen=True):
    how: str


class Count(msgspec.Struct, frozen=True):
    """A stream of numbers, and what it does then."""

    to: int
    then: str = ""


class Unheard(msgspec.Struct, frozen=True):
    """A request that the program does not know."""


def misbehave(how: str) -> object:
    """Everything that a program must not do."""
    match how:
        case "raise":
            raise LookupError("no such luck")
        case "refuse":
            raise AllocationRefused("the board is locked")
        case "exit":
            raise SystemExit(3)
        case "hang":
            threading.Event().wait()
        case "hold":
            print("holding", file=sys.stderr, flush=True)
            ctypes.PyDLL(None).sleep(1000)  # keeps the interpreter lock
        case "abort":
            print("about to abort", file=sys.stderr, flush=True)
            os.abort()
        case "quit":
            os._exit(7)
        case "hog":
            return [bytearray(64 << 20) for _ in range(1000)]
        case "children":
            child = os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "1000")
            print(f"child {child}", file=sys.stderr, flush=True)
            threading.Event().wait()
        case "lose":
            close_all()
            threading.Event().wait()
        case "other":
            return {"not": "what was asked for"}
        case "huge":
            return b"x" * (64 << 20)
    return None


def close_all() -> None:
    """Every descriptor but the standard ones."""
    for number in range(3, 100):
        try:
            os.close(number)
        except OSError:
            continue


def scribble(how: bytes) -> None:
    """Write nonsense to every socket there is, so also to the one that the answer is awaited on."""
    for link in Path("/proc/self/fd").iterdir():
        try:
            if os.readlink(link).startswith("socket:"):
                os.write(int(link.name), how)
        except OSError:
            continue


class Scribble(msgspec.Struct, frozen=True):
    """Answer with these bytes."""

    bytes: bytes


class Held(msgspec.Struct, frozen=True):
    """What it holds open."""


def held(_: Held) -> list[str]:
    """The targets of all descriptors."""
    targets = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            targets.append(os.readlink(link))
        except OSError:
            continue
    return targets


class Flood(msgspec.Struct, frozen=True):
    """Print so many bytes."""

    bytes: int


def flood(request: Flood) -> int:
    """Lines without end, nearly."""
    return sum(os.write(2, b"flood " * 170 + b"\n") for _ in range(request.bytes // 1021))


def make(options: Options) -> Program:
    """All of it."""
    misbehave(options.does)

    def count(request: Count, outlet: Outlet) -> None:
        for number in range(request.to):
            outlet.send(number)
        if request.then == "beat":
            while True:
                outlet.beat()
                time.sleep(0.02)
        elif request.then == "nonsense":
            scribble(b"\0\0\0\3abc")
        misbehave(request.then)

    return Program(
        {
            Greet: lambda request: f"{options.greeting} {request.name}",
            Misbehave: lambda request: misbehave(request.how),
            Scribble: lambda request: scribble(request.bytes),
            Held: held,
            Flood: flood,
        },
        {Count: count},
    )


def main() -> NoReturn:
    """Be the program."""
    serve_program(make, Options)


if __name__ == "__main__":
    main()

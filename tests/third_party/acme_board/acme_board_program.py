"""The program that opens ACME boards."""

import time
from pathlib import Path

import msgspec

from supervisor import Outlet, Program, serve_program


class Options(msgspec.Struct, frozen=True):
    dev: str


class Serials(msgspec.Struct, frozen=True):
    """Asks for the serial number of each board, by the name of its device node."""


class Changes(msgspec.Struct, frozen=True):
    """Asks for the names of boards whose answer has changed, as they change."""


def serials(options: Options) -> dict[str, str]:
    return {path.name: path.read_text().strip() for path in sorted(Path(options.dev).glob("acme-board*"))}


def changes(options: Options, outlet: Outlet) -> None:
    before = serials(options)
    while True:
        time.sleep(0.1)
        now = serials(options)
        for name in dict(before.items() ^ now.items()):
            outlet.send(name)
        before = now
        outlet.beat()


def make(options: Options) -> Program:
    return Program(
        answers={Serials: lambda request: serials(options)},
        streams={Changes: lambda request, outlet: changes(options, outlet)},
    )


if __name__ == "__main__":
    serve_program(make, Options)

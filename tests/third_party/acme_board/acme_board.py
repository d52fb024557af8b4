"""ACME boards, which say who they are only to whoever opens them, as acme.example/board."""

import time

import trio
from acme_board_program import Changes, Options, Serials

from supervisor import Border, ContainerEdits, Device, DeviceNode, Host, LookAgain, hookimpl


class Boards:
    name, udev_subsystems = "acme-board", ("acme",)

    def __init__(self, host: Host) -> None:
        self.border = Border("acme-board", host, Options(host.dev))

    def discover(self) -> dict[str, list[Device]]:
        found = self.border.ask(Serials(), dict[str, str], deadline=time.monotonic() + 5)
        boards = [Device(serial, edits=ContainerEdits((DeviceNode(f"/dev/{name}"),))) for name, serial in found.items()]
        return {"acme.example/board": boards}

    async def watch(self, look_again: LookAgain) -> None:
        await trio.to_thread.run_sync(self.border.open, time.monotonic() + 5)
        with self.border.connect(Changes(), str) as changes:
            look_again()
            async for _ in changes:
                look_again()


@hookimpl
def device_plugins(host: Host) -> list[Boards]:
    return [Boards(host)]

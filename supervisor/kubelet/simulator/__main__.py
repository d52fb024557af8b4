"""``python -m supervisor.kubelet.simulator``: a kubelet in the foreground, for people, or behind a control channel."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from supervisor.kubelet.simulator.control import Control
from supervisor.kubelet.simulator.eras import ERAS
from supervisor.kubelet.simulator.errors import KubeletStartError
from supervisor.kubelet.simulator.events import Event
from supervisor.kubelet.simulator.node import Node
from supervisor.kubelet.simulator.settings import NodeSettings, StartOptions


def main(arguments: list[str] | None = None) -> int:
    """Run until interrupted; 1 when the kubelet cannot start."""
    options = _parser().parse_args(arguments)
    if options.control_fd is not None:
        asyncio.run(_behind_channel(options.control_fd))
    if options.root is None:
        _parser().error("--root is needed")
    return asyncio.run(_foreground(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m supervisor.kubelet.simulator", description=__doc__)
    parser.add_argument("--root", type=Path, help="directory for device-plugins/ and pod-resources/")
    parser.add_argument("--era", choices=sorted(ERAS), default="1.37", help="which kubelet to be (%(default)s)")
    parser.add_argument("--device-plugins-dir", type=Path, help="instead of ROOT/device-plugins")
    parser.add_argument("--seed", type=int, default=0, help="decides what is a random order in a kubelet")
    parser.add_argument("--time-scale", type=float, default=1.0, help="real seconds for each kubelet second")
    parser.add_argument("--runtime-ready-delay", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--json", action="store_true", help="one JSON object for each event")
    parser.add_argument("--control-fd", type=int, help=argparse.SUPPRESS)
    return parser


async def _behind_channel(descriptor: int) -> None:
    """Serve until the owner is gone, then vanish as after SIGKILL: stale sockets stay."""
    with suppress(ConnectionError):
        await Control(socket.socket(fileno=descriptor)).serve()
    os._exit(0)


async def _foreground(options: argparse.Namespace) -> int:
    def show(event: Event) -> None:
        try:
            print(json.dumps(event.to_json()) if options.json else event, flush=True)
        except BrokenPipeError:
            os._exit(1)  # nobody reads any more

    settings = NodeSettings(
        root=options.root.absolute(),
        era=ERAS[options.era],
        device_plugins_dir=options.device_plugins_dir and options.device_plugins_dir.absolute(),
        seed=options.seed,
        time_scale=options.time_scale,
    )
    node = Node(settings, show)
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    try:
        await node.start(StartOptions(runtime_ready_delay=options.runtime_ready_delay))
    except KubeletStartError as error:
        print(f"the kubelet has exited: {error}", file=sys.stderr)
        return 1
    await ended.wait()
    await node.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())

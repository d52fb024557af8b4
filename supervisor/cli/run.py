"""``run``: offer this node's hardware to its kubelet, until SIGTERM."""

import argparse
import contextlib
import gc
import os
import sys
from pathlib import Path
from typing import NoReturn

from msgspec.structs import replace

from supervisor.config import HttpConfig
from supervisor.config_file import DEFAULT_PATH, Document, load
from supervisor.errors import ConfigError, SupervisorError
from supervisor.ownership import Ownership
from supervisor.profiles import here

HELP = "offer this node's hardware to the kubelet, until SIGTERM"

SWITCH_INTERVAL = 0.001
"""Seconds for which Python code keeps the interpreter from another thread that wants it. An Allocate changes threads several times;
with the usual 5 ms the longest one beside a busy look took 20 ms, now 12, and quiet ones take as long as before."""


M_ARENA_MAX = -8
"""What ``mallopt`` calls it in glibc's malloc.h."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help=f"configuration file (default: {DEFAULT_PATH}, if there is one)")
    parser.add_argument("--device-plugins-dir", metavar="DIR", help="the kubelet's device-plugins directory")
    parser.add_argument("--http", metavar="ADDR:PORT", type=_address, help="where probes and metrics are served")


def _address(text: str) -> str:
    try:
        return HttpConfig(text).listen
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("listen: ")) from None


def _http(config: HttpConfig, address: str | None) -> HttpConfig:
    """As configured, at another address if one is given. Raises ``ConfigError`` where that would leave tokens unprotected."""
    try:
        return config if address is None else replace(config, listen=address)
    except ValueError as error:
        raise ConfigError((f"--http {address}: {error}",)) from None


def main(args: argparse.Namespace) -> NoReturn:
    """Exit code 0 after SIGTERM or SIGINT, 1 when a restart or a person must help, 2 for a bad configuration."""
    try:
        document = here(load(args.config or DEFAULT_PATH, required=args.config is not None))
        directory = Path(args.device_plugins_dir or document.config.kubelet.device_plugins_dir).absolute()
        # Before anything that opens descriptors: at SIGKILL the kernel closes high ones first, so this lock falls last.
        ownership = Ownership.open(directory)
        _supervise(document, directory, _http(document.config.http, args.http), ownership)
    except ConfigError as error:
        print(error, file=sys.stderr)
        _end(2)
    except SupervisorError as error:
        print(f"device-plugin-supervisor: {error}", file=sys.stderr)
        _end(1)
    _end(0)


def _supervise(document: Document, directory: Path, http: HttpConfig, ownership: Ownership | None) -> None:
    _share_one_arena()
    gc.disable()
    # Imported late: grpc opens descriptors of its own.
    import trio

    from supervisor.observe.log import Log, Style, libraries_logged
    from supervisor.observe.sentences import Grade
    from supervisor.supervision import Setup, Supervisor

    gc.freeze()  # all of it stays: each full collection would stop every thread for 10 ms to see that again
    gc.enable()
    sys.setswitchinterval(SWITCH_INTERVAL)

    wanted = document.config.log
    log = Log(style=None if wanted.format == "auto" else Style(wanted.format), least=Grade[wanted.level.upper()])

    async def run() -> None:
        await Supervisor(Setup(document, directory, http, ownership), log).run()

    with libraries_logged(log):
        try:
            trio.run(run)
        except BaseExceptionGroup as group:
            # Not `except*`: on Python 3.11.2 what is raised in there comes out within another group.
            ours, others = group.split(SupervisorError)
            if ours is None or others is not None:
                raise
            raise _first(ours) from None


def _share_one_arena() -> None:
    """Have all threads take memory from one place; to be called before there are any.

    glibc gives them up to eight arenas for each core, and each keeps what its threads once needed at a time. In an hour of every
    kind of life that grew to 4 MiB, of which ``malloc_trim`` could give back a tenth. Python's threads take turns anyway.
    """
    with contextlib.suppress(ImportError, AttributeError):  # a Python without libffi; another libc, which has no arenas
        import ctypes

        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _end(code: int) -> NoReturn:
    """Leave at once: a plugin's thread that hangs must not keep the process, and with it the owner's lock, alive."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

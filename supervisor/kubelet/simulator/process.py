"""The simulator's process as its owner sees it: spawn, ask, kill."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import supervisor.kubelet
from supervisor.kubelet.simulator.errors import KubeletDownError, SimulatorError, error_from_json
from supervisor.kubelet.simulator.events import Event
from supervisor.kubelet.simulator.settings import NodeSettings

_DIED = "the simulator's process has ended"


class SimulatorProcess:
    """One child process and its control channel; any thread may ask. Closing the channel ends the child."""

    def __init__(self, settings: NodeSettings, on_event: Callable[[Event], None], on_end: Callable[[], None]) -> None:
        """Spawn the process; ``on_event`` and ``on_end`` are called on a thread of this object."""
        self._on_event = on_event
        self._on_end = on_end
        self._pending: dict[int, Future[Any]] = {}
        self._lock = threading.Lock()
        self._last_id = 0
        self._ended = False
        self._channel, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "supervisor.kubelet.simulator", "--control-fd", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=_environment(),
                process_group=0,  # Ctrl-C on the terminal is for the owner alone, who closes the channel
            )
        self._reader = threading.Thread(target=self._read, name="kubelet-simulator", daemon=True)
        self._reader.start()
        self._send(settings.to_json())

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether the process has not ended."""
        return not self._ended and self._child.poll() is None

    def ask(self, operation: str, arguments: dict[str, Any], timeout: float) -> Any:
        """Ask and wait for the answer; raises the simulator's errors, and ``TimeoutError`` after ``timeout`` s."""
        future: Future[Any] = Future()
        with self._lock:
            if self._ended:
                raise KubeletDownError(_DIED)
            self._last_id += 1
            number = self._last_id
            self._pending[number] = future
        try:
            self._send({"id": number, "op": operation, "args": arguments})
            return future.result(timeout)
        finally:
            with self._lock:
                self._pending.pop(number, None)

    def kill(self) -> None:
        """SIGKILL the process and wait until it is gone."""
        self._child.kill()
        self.close()

    def close(self) -> None:
        """Close the channel, which ends the process as abruptly as SIGKILL, and wait until all of it is gone."""
        with suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)
        try:
            self._child.wait(5)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        if threading.current_thread() is not self._reader:
            self._reader.join()
        self._channel.close()

    def _send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        try:
            with self._lock:
                self._channel.sendall(data)
        except OSError as error:
            raise KubeletDownError(_DIED) from error

    def _read(self) -> None:
        try:
            with self._channel.makefile("rb") as lines:
                for line in lines:
                    self._take(json.loads(line))
        except (OSError, ValueError):
            pass
        with self._lock:
            self._ended = True
            orphans = list(self._pending.values())
        for future in orphans:
            future.set_exception(KubeletDownError(_DIED))
        self._on_end()

    def _take(self, message: dict[str, Any]) -> None:
        if "event" in message:
            self._on_event(Event.from_json(message))
            return
        with self._lock:
            future = self._pending.pop(message["id"], None)
        if future is None:
            return
        if "error" in message:
            error: SimulatorError = error_from_json(message["error"])
            future.set_exception(error)
        else:
            future.set_result(message["result"])


def _environment() -> dict[str, str]:
    """Make the child import the very package this process has imported."""
    package = Path(supervisor.kubelet.__file__).parents[2]
    paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "GRPC_VERBOSITY": "ERROR"}

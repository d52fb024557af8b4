"""The real supervisor as a process of its own, offering some installed plugins to a simulated kubelet."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from supervisor.config import API_VERSION, KIND
from supervisor.host import Host
from supervisor.kubelet.simulator import Paths
from supervisor.plugins import installed

STOP_SECONDS = 10.0
"""After SIGTERM the supervisor has so long to end; it needs far less."""

_RUN = "import sys; from supervisor.cli import main; sys.exit(main())"


class Supervised:
    """``device-plugin-supervisor run`` with a configuration of its own. A context manager."""

    def __init__(self, kubelet: Paths, folder: Path, plugins: Mapping[str, Mapping[str, Any]], host: Host) -> None:
        """``plugins`` maps entry points to their sections; every other installed plugin is switched off."""
        self.folder = Path(tempfile.mkdtemp(prefix="supervised-", dir=folder))
        self.config = self.folder / "config.yaml"
        self._kubelet = kubelet
        self._host = host
        self.configure(plugins)
        self.process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    def configure(self, plugins: Mapping[str, Mapping[str, Any]]) -> None:
        """Replace the ``plugins`` sections; a running supervisor notices."""
        off = {package.name: {"enabled": False} for package in installed() if package.name not in plugins}
        document = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "kubelet": {
                "devicePluginsDir": str(self._kubelet.device_plugins),
                "podResourcesSocket": str(self._kubelet.pod_resources_socket),
            },
            "http": {"listen": "127.0.0.1:0"},
            "host": {
                "sysfs": self._host.sysfs,
                "dev": self._host.dev,
                "proc": self._host.proc,
                "runUdev": self._host.run_udev,
                "helper": {"socket": self._host.helper_socket},
            },
            "plugins": off | {name: dict(section) for name, section in plugins.items()},
        }
        new = self.config.with_suffix(".new")
        new.write_text(json.dumps(document, indent=2))  # JSON is YAML
        new.rename(self.config)

    @property
    def command(self) -> list[str]:
        """What is started."""
        return [sys.executable, "-c", _RUN, "run", "--config", str(self.config)]

    def __enter__(self) -> Self:
        """Start it. That it serves is seen at the kubelet."""
        self._log = (self.folder / "log").open("wb")
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop it, and show its log where pytest shows what a failed test wrote."""
        code = self.stop()
        sys.stderr.write(self.log)
        if code != 0 and error is None:
            raise AssertionError(f"the supervisor ended with exit code {code}:\n{self.log}")

    @property
    def log(self) -> str:
        """What it has written so far."""
        return (self.folder / "log").read_text(errors="replace")

    def wait_log(self, text: str, timeout: float = 10.0) -> str:
        """Wait for a line of the log that holds ``text``, and return it. Raises ``TimeoutError`` that shows the log."""
        deadline = time.monotonic() + timeout
        while True:
            ended = self.process is None or self.process.poll() is not None
            found = next((line for line in self.log.splitlines() if text in line), None)
            if found is not None:
                return found
            if ended or time.monotonic() > deadline:
                what = "when it ended" if ended else f"within {timeout:g} s"
                raise TimeoutError(f"{text!r} was not in the supervisor's log {what}:\n{self.log}")
            time.sleep(0.01)

    def stop(self) -> int:
        """End it as the kubelet ends a container: SIGTERM, then SIGKILL. Returns its exit code."""
        assert self.process is not None
        assert self._log is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()
        return self.process.returncode


Supervise = Callable[..., Supervised]
"""``supervised({entry point: section}, host)`` starts the supervisor with these plugins alone."""

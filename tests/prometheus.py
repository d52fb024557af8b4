"""A real Prometheus that scrapes what a test runs, asked through its HTTP API. Tests that use it require ``prometheus``."""

import json
import re
import signal
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

JOB = "device-plugin-supervisor"
"""What scrapes are labelled with, as the deployment's monitors do it."""

PATIENCE = 30.0
"""Seconds for anything that must come; the first scrape starts about five after Prometheus itself."""

STOP_SECONDS = 10.0

_LISTENING = re.compile(r'msg="Listening on" address=(\S+)')


class Series(NamedTuple):
    """One series of an answer, with its newest value."""

    labels: Mapping[str, str]
    """``__name__`` among them, where the answer has it."""
    value: float


class Refused(Exception):
    """Prometheus would not answer, and says why."""


class Prometheus:
    """A running one; made by ``prometheus()``."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        """Wait until it is ready for questions. Raises ``TimeoutError`` that shows its log."""
        self._process = process
        self._log = log
        self.address = _until(self._listening, "address", self._told)
        _until(self._is_ready, "readiness", self._told)

    def query(self, expression: str) -> list[Series]:
        """What an expression gives now; a scalar is one series without labels. Raises ``Refused``."""
        data = self.get("query", query=expression)
        if data["resultType"] in {"scalar", "string"}:
            return [Series({}, float(data["result"][1]))]
        assert data["resultType"] == "vector", data["resultType"]
        return [Series(each["metric"], float(each["value"][1])) for each in data["result"]]

    def until(self, expression: str, timeout: float = PATIENCE) -> list[Series]:
        """Wait until an expression gives anything, and return it. Raises ``TimeoutError`` that shows the targets."""
        return _until(lambda: self.query(expression), expression, lambda: f"{self.targets()}\n{self._told()}", timeout)

    def targets(self) -> list[dict[str, Any]]:
        """What is scraped, as the API tells it: ``health`` is ``up`` after a good scrape, ``lastError`` tells of a bad one."""
        found: list[dict[str, Any]] = self.get("targets", state="active")["activeTargets"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Every rule of every group; ``health`` is ``ok`` once it has been evaluated without an error."""
        return [rule for group in self.get("rules")["groups"] for rule in group["rules"]]

    def get(self, path: str, **parameters: str) -> Any:
        """The data of one answer of the API below ``/api/v1/``. Raises ``Refused``."""
        address = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(address, timeout=PATIENCE) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise Refused(f"{error.code} for {path} {parameters}: {error.read().decode()}") from None

    def _listening(self) -> str:
        self._alive()
        found = _LISTENING.search(self._told())
        return found.group(1) if found else ""

    def _is_ready(self) -> bool:
        """It listens before it has read its rules, and ends where these are bad."""
        self._alive()
        try:
            with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=PATIENCE) as response:
                return bool(response.status == 200)
        except urllib.error.HTTPError as error:
            error.close()
            return False
        except OSError:
            return False

    def _alive(self) -> None:
        if self._process.poll() is not None:
            raise RuntimeError(f"Prometheus ended with exit code {self._process.returncode}:\n{self._told()}")

    def _told(self) -> str:
        return self._log.read_text(errors="replace")


@contextmanager
def prometheus(
    targets: Sequence[str], rules: Path | None = None, labels: Mapping[str, str] | None = None
) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes these ``host:port`` every second, and evaluates a file of rules. Nothing of it is left.

    Each series gets these labels, unless it has them.
    """
    with TemporaryDirectory(prefix="prometheus-") as name:
        folder = Path(name)
        config = folder / "prometheus.yml"
        config.write_text(json.dumps(_configuration(targets, rules, labels or {})))  # JSON is YAML
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(_command(config, folder / "data"), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield Prometheus(process, folder / "log")
        finally:
            _stop(process)


def check_metrics(page: bytes) -> str:
    """What ``promtool check metrics`` has to say of a page of text; nothing where it is content."""
    done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, timeout=PATIENCE, check=False)
    return (done.stdout + done.stderr).decode() + (f"exit code {done.returncode}" if done.returncode else "")


def _configuration(targets: Sequence[str], rules: Path | None, labels: Mapping[str, str]) -> dict[str, Any]:
    every = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    static = {"targets": list(targets), "labels": dict(labels)}
    scrape = {"job_name": JOB, "honor_labels": True, "static_configs": [static]}
    return {"global": every, "scrape_configs": [scrape], "rule_files": [str(rules.resolve())] if rules else []}


def _command(config: Path, data: Path) -> list[str]:
    return [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={data}",
        "--web.listen-address=127.0.0.1:0",
        "--scrape.discovery-reload-interval=100ms",  # five seconds otherwise, after five that cannot be shortened
    ]


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _until(ask: Callable[[], T], what: str, told: Callable[[], str] = str, timeout: float = PATIENCE) -> T:
    deadline = time.monotonic() + timeout
    while not (answer := ask()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"Prometheus gave no {what} within {timeout:g} s\n{told()}")
        time.sleep(0.05)
    return answer

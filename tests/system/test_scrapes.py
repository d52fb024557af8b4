"""A real Prometheus reads what a running supervisor tells of itself, in both formats, and promtool finds nothing to say."""

import re
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from supervisor.kubelet.simulator import KubeletSimulator
from tests.prometheus import Prometheus, check_metrics, prometheus
from tests.system.conftest import Start
from tests.system.rig import HEALTHY, RESOURCE, Process, Puppet, wait_for

SHARED = "example.com/shared"
OPENMETRICS = "application/openmetrics-text;version=1.0.0"


def address(process: Process) -> str:
    """Where it serves its pages."""
    found = re.search(r'"address": ?"([^"]+)"', process.wait_log('"HttpListening"'))
    assert found is not None
    return found.group(1)


def page(process: Process, accept: str = "") -> bytes:
    request = urllib.request.Request(f"http://{address(process)}/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10) as response:
        body: bytes = response.read()
        return body


def names(text: bytes) -> set[str]:
    """The names of all samples on a page."""
    found = re.findall(rb"^([a-z_]+)[{ ]", text, re.MULTILINE)
    return {name.decode() for name in found}


@contextmanager
def as_text(target: str) -> Iterator[str]:
    """An address at which the same page is always in the older format."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            request = urllib.request.Request(f"http://{target}{self.path}", headers={"Accept": "text/plain"})
            with urllib.request.urlopen(request, timeout=10) as response:
                self.send_response(response.status)
                self.send_header("Content-Type", response.headers["Content-Type"])
                self.end_headers()
                self.wfile.write(response.read())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the base class's
            """Be silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def eventful(kubelet: KubeletSimulator, start: Start, puppet: Puppet) -> Process:
    """A supervisor to which everything happened that makes series: holders, replicas, a failure, a loss, odd texts."""
    puppet.resources[SHARED] = {"s0::0": "", "s0::1": ""}
    puppet.show({"w0": "", "w1": 'says "no\\yes"\nand é'})
    process = start()
    kubelet.wait_devices(RESOURCE, {"w0": "Healthy", "w1": "Unhealthy"})
    kubelet.wait_devices(SHARED, {"s0::0": "Healthy", "s0::1": "Healthy"})
    assert kubelet.add_pod("holder", {RESOURCE: 1, SHARED: 1}).admitted
    puppet.behave(discover="raise")
    process.wait_log('"LookFailed"')
    puppet.behave()
    kubelet.restart()
    kubelet.wait_devices(RESOURCE, {"w0": "Healthy", "w1": "Unhealthy"})
    wait_for(lambda: b"device_plugin_allocated{" in page(process), 20, "a holder on the page of metrics")
    return process


@pytest.mark.requires("prometheus", "patience")
def test_promtool_has_nothing_to_say(eventful: Process) -> None:
    """Names, helps, units and values are as they should be."""
    assert check_metrics(page(eventful)) == ""


@pytest.mark.requires("prometheus", "patience")
@pytest.mark.slow
def test_prometheus_knows_everything_that_is_told(eventful: Process) -> None:
    """Every sample of the page can be asked for, with the same labels and from either format."""
    target = address(eventful)
    with as_text(target) as text, prometheus([target, text]) as running:
        for instance, accept in ((target, OPENMETRICS), (text, "")):
            running.until(f'up{{instance="{instance}"}} == 1')
            told = names(page(eventful, accept))
            assert told - stored(running, instance) == set()
        for instance in (target, text):
            (holder,) = running.until(f'device_plugin_allocated{{instance="{instance}",resource="{RESOURCE}"}}')
            assert {name: holder.labels[name] for name in ("device", "namespace", "pod", "container")} == {
                "device": "w0", "namespace": "default", "pod": "holder", "container": "main",
            }  # fmt: skip
            assert [each.value for each in running.query(f'device_plugin_replicas_in_use{{instance="{instance}"}}')] == [1]
            (sick,) = running.query(f'device_plugin_device_health{{instance="{instance}"}} == 0')
            assert sick.labels["reason"] == 'says "no\\yes" and é'
            quantile = f'histogram_quantile(0.5, device_plugin_allocation_seconds_bucket{{instance="{instance}"}}) > 0'
            assert {each.labels["resource"] for each in running.query(quantile)} == {RESOURCE, SHARED}
        assert {each["health"] for each in running.targets()} == {"up"}


def stored(running: Prometheus, instance: str) -> set[str]:
    """The names of all series of a target."""
    return {each.labels["__name__"] for each in running.until(f'group by (__name__) ({{instance="{instance}"}})')}


def test_both_formats_tell_the_same(kubelet: KubeletSimulator, served: Process) -> None:
    """Sample by sample, but for what changes from one moment to the next."""
    kubelet.wait_devices(RESOURCE, HEALTHY)
    older, newer = names(page(served)), names(page(served, OPENMETRICS))
    assert older == newer
    assert "device_plugin_connected" in older

"""A real Prometheus scrapes a running supervisor: each query of the dashboard and each rule is asked about what really is exposed."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from supervisor.host import Host
from supervisor.kubelet.simulator import KubeletSimulator
from tests.deploy.monitoring import FOLDER, RULES, alerts, named, queries, rules
from tests.machine import need
from tests.prometheus import Prometheus, prometheus
from tests.system.rig import Process, quietly

pytestmark = [pytest.mark.requires("prometheus", "patience"), pytest.mark.slow, pytest.mark.checkout]

NODE = "node-1"
NULL = "devices.example.com/null"
GPU = "nvidia.com/gpu"

ELSEWHERE: Mapping[str, set[str]] = {
    "ALERTS": {"alertname", "alertstate"},
    "kube_node_status_capacity": {"node", "resource"},
    "kube_node_status_allocatable": {"node", "resource"},
    # Born with the first kernel event of a wanted subsystem.
    "device_plugin_uevents_total": {"subsystem", "action"},
}
"""Metrics that the supervisor of this test does not expose, with their labels."""

HCA = "rdma/hca"

FPGA = "fpga.example.com/dfl"

OF_PLUGINS = {"nvidia_gpu", "infiniband", "fpga"}
METRICS = re.compile(r"^\| `(\w+)` \|((?: `\w+`,?)*) \|", re.MULTILINE)
"""A line of the table in a plugin's README, which its own tests compare with the code: what is simulated has not all of them."""

MADE = {"cluster", "node", "quantity", "sanitized"}
"""Labels that come from nobody's exposition: of whole scrapes, and what a rule makes itself."""

EMPTY: Mapping[str, str] = {
    "Plugins: Kernel events": "no hardware comes or goes",
    "Process: What the metrics do not show": "nothing is missing",
    "NVIDIA GPUs: NVML and CDI": "no CDI spec is wrong",
    "FPGAs: Bits set in error registers": "none is set",
    "NVIDIA GPUs: Temperature": "simulated GPUs measure nothing",
    "NVIDIA GPUs: Power": "the same",
    "NVIDIA GPUs: Utilization": "the same",
    "NVIDIA GPUs: Memory": "the same",
}
"""Panels of which a query may have no answer, and why that is good."""


def sections() -> dict[str, dict[str, Any]]:
    """A node with a shared device, an HCA with two functions, four GPUs, of which one will fail, and two FPGAs that are reset."""
    gpus = {"simulate": {"layout": "l40s-4", "script": ["after 3s xid 79 on 0"]}, "environment": False}
    shared = {"resources": [{"name": NULL, "match": [{"path": "/dev/null"}], "replicas": 4}]}
    # Each look brings the plugin's counts with it.
    fpgas = {"simulate": {"layout": "dfl-card"}, "resources": [{"name": FPGA, "reset": True}], "lookInterval": 1}
    hcas = {"simulate": {"layout": "dual-port-infiniband"}}
    return {"generic": shared, "nvidia-gpu": gpus, "infiniband": hcas, "fpga": fpgas}


@pytest.fixture(scope="module")
def scraped() -> Iterator[Prometheus]:
    """A Prometheus that has seen pods, a GPU that fell off the bus, an FPGA's reset, and an edit that was refused."""
    need("prometheus")
    with quietly(), ExitStack() as running:
        folder = Path(running.enter_context(TemporaryDirectory(prefix="m", dir="/tmp")))
        kubelet = running.enter_context(KubeletSimulator(folder, sources_delay=0.0))
        process = running.enter_context(Process(kubelet.paths, folder, sections(), Host()))
        kubelet.wait_registered(GPU)
        kubelet.wait_registered(NULL)
        kubelet.wait_registered(HCA)
        kubelet.wait_registered(FPGA)
        address = json.loads(process.wait_log('"HttpListening"'))["address"]
        found = running.enter_context(prometheus([address], RULES, {"node": NODE}))
        found.until("device_plugin_active == 1")
        assert kubelet.add_pod("train", {GPU: 1}).admitted
        assert kubelet.add_pod("sink", {NULL: 2}).admitted
        assert kubelet.add_pod("filter", {FPGA: 1}).admitted
        process.edit(log={"level": "no such level"})
        for expected in (
            'device_plugin_allocated{pod="train"} and on (pod) device_plugin_allocated{namespace="default"}',
            'device_plugin_nvidia_gpu_xids_total{xid="79"} == 1',
            f'device_plugin_device_health{{resource="{GPU}"}} == 0',
            "device_plugin_config_errors_total == 1",
            "device_plugin_fpga_resets_total == 1",
            f'increase(device_plugin_allocations_total{{resource="{GPU}",outcome="ok"}}[30s]) > 0',
        ):
            found.until(expected)
        yield found


def exposed(scraped: Prometheus) -> dict[str, set[str]]:
    """Every metric that Prometheus knows or a plugin tells of, with all its labels; Prometheus has none whose value is empty."""
    labels: dict[str, set[str]] = defaultdict(set, {k: v for plugin in OF_PLUGINS for k, v in told_metrics(plugin).items()})
    for series in scraped.get("series", **{"match[]": '{__name__=~".+"}'}):
        labels[series["__name__"]].update(series)
    return labels | dict(ELSEWHERE)


def told_metrics(plugin: str) -> dict[str, set[str]]:
    """Every metric of a plugin with its labels, as its README has them."""
    text = (FOLDER.parents[1] / f"plugins/{plugin}/README.md").read_text()
    rows = METRICS.findall(text[text.index("## Metrics") : text.index("## Simulation")])
    return {f"device_plugin_{plugin}_{name}": set(re.findall(r"\w+", labels)) for name, labels in rows}


def filled(expression: str, nodes: str, resources: str) -> str:
    """A query as Grafana sends it with this choice."""
    for variable, value in {
        "$node": nodes,
        "$resource": resources,
        "$__rate_interval": "30s",
        "$__range": "5m",
    }.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression, expression
    return expression


@pytest.mark.parametrize("choice", [(".*", ".*"), (f"({NODE}|other)", f"({GPU}|{HCA}|{NULL}|{FPGA})")], ids=["all", "chosen"])
def test_every_panel_shows_something(scraped: Prometheus, choice: tuple[str, str]) -> None:
    """No query of the dashboard is refused, and only those that are empty on a good day are empty."""
    empty = {query.panel for query in queries() if not scraped.query(filled(query.expression, *choice))}
    assert empty <= set(EMPTY), empty - set(EMPTY)


def test_another_choice_shows_nothing(scraped: Prometheus) -> None:
    """A node that is not there has neither devices nor processes: each query obeys the filter, but for what counts to zero."""
    for query in queries():
        answer = scraped.query(filled(query.expression, "other", ".*"))
        assert "ALERTS" in query.expression or all(series.value == 0 for series in answer), (query, answer)


def test_every_rule_is_evaluated(scraped: Prometheus) -> None:
    """None is in error, and each expression can be asked by hand."""
    scraped.until("node_resource_quantity:device_plugin_devices:expected")
    states = {rule["name"]: (rule["health"], rule.get("lastError", "")) for rule in scraped.rules()}
    assert set(states.values()) == {("ok", "")}, states
    assert {alert for alert in states if alert in alerts()} == set(alerts())
    for rule in rules():
        scraped.query(rule["expr"])


def test_the_faults_are_told(scraped: Prometheus) -> None:
    """The XID and the refused edit at once; the GPU waits for its time; nobody cries for anything else."""
    scraped.until('ALERTS{alertname="DevicePluginGpuHardwareXid",alertstate="firing",xid="79"}')
    scraped.until('ALERTS{alertname="DevicePluginConfigRejected",alertstate="pending"}')
    scraped.until(f'ALERTS{{alertname="DevicePluginDeviceUnhealthy",alertstate="pending",resource="{GPU}",node="{NODE}"}}')
    told = {series.labels["alertname"] for series in scraped.query("ALERTS")}
    assert told == {"DevicePluginGpuHardwareXid", "DevicePluginConfigRejected", "DevicePluginDeviceUnhealthy"}


def test_metrics_and_labels_are_real(scraped: Prometheus) -> None:
    """Each name in a rule or on the dashboard is one that is exposed: a typing error would be silence."""
    known = exposed(scraped)
    expressions = [rule["expr"] for rule in rules()] + [filled(query.expression, ".*", ".*") for query in queries()]
    for expression in expressions:
        found = named(expression)
        assert found.metrics.keys() <= known.keys(), expression
        for metric, labels in found.metrics.items():
            assert labels <= known[metric] | MADE, (metric, expression)
        assert found.grouping <= MADE.union(*(known[metric] for metric in found.metrics)), expression


def test_expected_quantities_are_named_as_the_cluster_names_them(scraped: Prometheus) -> None:
    """What the capacity is compared with: all devices, and the healthy ones, under the names of kube-state-metrics."""
    answer = scraped.until("node_resource_quantity:device_plugin_devices:expected")
    values = {(series.labels["sanitized"], series.labels["quantity"]): series.value for series in answer}
    assert values == {
        ("nvidia_com_gpu", "capacity"): 4,
        ("nvidia_com_gpu", "allocatable"): 3,
        ("devices_example_com_null", "capacity"): 4,
        ("devices_example_com_null", "allocatable"): 4,
        ("rdma_hca", "capacity"): 2,
        ("rdma_hca", "allocatable"): 2,
        ("fpga_example_com_dfl", "capacity"): 2,
        ("fpga_example_com_dfl", "allocatable"): 2,
    }

"""The monitoring files hold together: rules and their tests, anchors, monitors, the dashboard's form."""

import re
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from supervisor_nvidia_gpu.health.policy import DEFAULTS
from tests.deploy.monitoring import (
    DASHBOARD,
    FOLDER,
    PROMETHEUS_RULE,
    RULES,
    RULES_TEST,
    Named,
    alerts,
    dashboard,
    named,
    prometheus_rule,
    queries,
    rules,
)

pytestmark = [pytest.mark.checkout, pytest.mark.requires("patience")]

NAME = "device-plugin-supervisor"


def documents(name: str) -> list[dict[str, Any]]:
    """What is in one YAML file."""
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


def promtool(*arguments: str) -> str:
    """What promtool says of good files. Fails with its words on bad ones."""
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --- rules ------------------------------------------------------------------------------------------------------------


@pytest.mark.requires("prometheus")
def test_promtool_understands_the_rules() -> None:
    """Every one of them, duplicates and all else that it lints included."""
    assert f"SUCCESS: {len(rules())} rules found" in promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))


@pytest.mark.requires("prometheus")
@pytest.mark.slow
def test_rules_fire_when_they_should_and_never_else() -> None:
    """The cases of rules_test.yaml: every alert, a roll-out, a kubelet's restart, no hardware, a standby, small mishaps."""
    assert "SUCCESS" in promtool("test", "rules", str(RULES_TEST))


def test_every_alert_is_seen_firing() -> None:
    """A case of rules_test.yaml expects it, so that an expression which can never be true fails."""
    expected = set()
    for case in yaml.safe_load(RULES_TEST.read_text())["tests"]:
        for test in case.get("promql_expr_test", ()):
            expected.update(re.findall(r'alertname="(\w+)"', str(test["exp_samples"])))
        expected.update(test["alertname"] for test in case.get("alert_rule_test", ()) if test["exp_alerts"])
    assert expected == set(alerts())


def test_the_operators_rules_are_the_same() -> None:
    """Made by ``python -m tests.deploy.monitoring``, and a custom resource of the operator."""
    assert PROMETHEUS_RULE.read_text() == prometheus_rule()
    (resource,) = documents("prometheusrule.yaml")
    assert (resource["apiVersion"], resource["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert resource["spec"] == yaml.safe_load(RULES.read_text())


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    """A severity, a sentence, what is behind it, and a place in the README that has the cure."""
    headings = set(re.findall(r"^### (DevicePlugin\w+)$", (FOLDER / "README.md").read_text(), re.MULTILINE))
    assert headings == set(alerts())
    for name, alert in alerts().items():
        assert alert["labels"] == {"severity": alert["labels"]["severity"]}
        assert alert["labels"]["severity"] in {"warning", "critical"}
        assert set(alert["annotations"]) == {"summary", "description", "runbook"}, name
        assert alert["annotations"]["runbook"] == f"deploy/monitoring/README.md#{name.lower()}"
        assert alert["annotations"]["summary"].endswith(".")


def test_xids_of_the_hardware_are_those_that_make_a_gpu_unhealthy() -> None:
    """The alert lists what the plugin's own defaults judge as worse than an event."""
    severe = sorted(xid for xid, decision in DEFAULTS.items() if decision.action in {"unhealthy", "until-reset"})
    patterns = set(re.findall(r'xid=~"([^"]*)"', alerts()["DevicePluginGpuHardwareXid"]["expr"]))
    assert patterns == {"|".join(map(str, severe))}


# --- monitors ---------------------------------------------------------------------------------------------------------


def monitors() -> list[dict[str, Any]]:
    """Both ways of the operator to scrape."""
    return [*documents("podmonitor.yaml"), documents("servicemonitor.yaml")[1]]


def test_monitors_select_the_pods_and_name_their_nodes() -> None:
    """The rules need the job's name and the node; ``allocated`` needs its own namespace, pod and container."""
    for monitor in monitors():
        assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
        assert monitor["metadata"]["namespace"] == NAME
        spec = monitor["spec"]
        assert spec["jobLabel"] == "app.kubernetes.io/name"
        assert spec["selector"] == {"matchLabels": {"app.kubernetes.io/name": NAME}}
        (endpoint,) = spec.get("podMetricsEndpoints") or spec["endpoints"]
        assert (endpoint["port"], endpoint["path"], endpoint["honorLabels"]) == ("http", "/metrics", True)
        (relabelling,) = endpoint["relabelings"]
        assert relabelling["sourceLabels"] == ["__meta_kubernetes_pod_node_name"]
        assert relabelling["targetLabel"] == "node"
    assert [monitor["kind"] for monitor in monitors()] == ["PodMonitor", "ServiceMonitor"]


def test_the_service_of_the_service_monitor_gives_every_pod() -> None:
    """Without an address of its own, and those that are not ready, too; found by the labels that the monitor selects."""
    service, monitor = documents("servicemonitor.yaml")
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["metadata"]["labels"].items() >= monitor["spec"]["selector"]["matchLabels"].items()
    assert [port["name"] for port in service["spec"]["ports"]] == ["http"]


@pytest.mark.requires("prometheus")
def test_the_scrape_configuration_of_the_readme_is_one(tmp_path: Path) -> None:
    """Prometheus takes it, and it names job, node and holders as the monitors do."""
    (block,) = re.findall(
        r"^```yaml\n(scrape_configs:\n.*?)^```$", (FOLDER / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    (scrape,) = yaml.safe_load(block)["scrape_configs"]
    assert scrape["kubernetes_sd_configs"] == [{"role": "pod", "namespaces": {"names": [NAME]}}]
    # Debian builds its Prometheus without Kubernetes.
    rest = {key: value for key, value in scrape.items() if key != "kubernetes_sd_configs"}
    file = tmp_path / "prometheus.yml"
    file.write_text(yaml.safe_dump({"scrape_configs": [rest]}))
    assert "SUCCESS" in promtool("check", "config", "--syntax-only", str(file))
    assert (scrape["job_name"], scrape["honor_labels"]) == (NAME, True)
    assert "node" in {relabelling.get("target_label") for relabelling in scrape["relabel_configs"]}


def test_the_component_holds_what_it_names() -> None:
    """One way to scrape, the rules, and the dashboard with the label that Grafana's sidecar looks for."""
    (component,) = documents("kustomization.yaml")
    assert (component["apiVersion"], component["kind"]) == ("kustomize.config.k8s.io/v1alpha1", "Component")
    (config_map,) = component["configMapGenerator"]
    assert config_map["options"]["labels"]["grafana_dashboard"] == "1"
    assert config_map["files"] == [DASHBOARD.name]
    assert component["resources"] == ["podmonitor.yaml", "prometheusrule.yaml"]
    assert all((FOLDER / name).is_file() for name in component["resources"])


# --- the dashboard ----------------------------------------------------------------------------------------------------


def test_panels_have_names_places_and_the_chosen_data_source() -> None:
    """No two have one id, one title in one row, or one place; none asks another Prometheus than the one that is chosen."""
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    titles = {query.panel for query in queries()}
    assert len(titles) == sum(panel["type"] != "row" for panel in panels)
    sources = [target["datasource"] for panel in panels for target in panel.get("targets", ())]
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
    for one, other in combinations((panel["gridPos"] for panel in panels), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


def test_every_query_follows_the_filters() -> None:
    """Each asks for the chosen nodes, and where it is about resources for the chosen resources; alerts are for all."""
    for query in queries():
        if "ALERTS" not in query.expression:
            assert 'node=~"$node"' in query.expression, query
        if any("resource" in labels for labels in named(query.expression).metrics.values()):
            assert 'resource=~"$resource"' in query.expression, query
    assert [variable["name"] for variable in dashboard()["templating"]["list"]] == ["datasource", "node", "resource"]


# --- what an expression names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("up", Named({"up": set()}, set())),
        ('sum by (a, b) (rate(x_total{c="d",e=~"f}"}[5m])) > 1e3', Named({"x_total": {"c", "e"}}, {"a", "b"})),
        ("x and on (a) y == 1 or vector(0)", Named({"x": set(), "y": set()}, {"a"})),
        (
            "max without (a)(x:y:sum offset 1h) * ignoring(b) group_left(c) z[1h:1m]",
            Named({"x:y:sum": set(), "z": set()}, {*"abc"}),
        ),
        ('label_replace(sum(x) by (a), "b", "${1}", "c", "(.*)")', Named({"x": set()}, {"a"})),
        ('x{a="1"} / x{b!="2"}', Named({"x": {"a", "b"}}, set())),
    ],
)
def test_names_are_found_in_expressions(expression: str, expected: Named) -> None:
    """Metrics with their matchers, and labels of groupings; neither functions nor operators nor strings."""
    assert named(expression) == expected

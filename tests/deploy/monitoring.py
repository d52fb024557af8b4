"""The files of ``deploy/monitoring``, and what PromQL expressions name.

Run as a program (``python -m tests.deploy.monitoring``), this writes ``prometheusrule.yaml`` anew from ``rules.yaml``.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent
from typing import Any, NamedTuple

import yaml

FOLDER = Path(__file__).parents[2] / "deploy/monitoring"
RULES = FOLDER / "rules.yaml"
RULES_TEST = FOLDER / "rules_test.yaml"
PROMETHEUS_RULE = FOLDER / "prometheusrule.yaml"
DASHBOARD = FOLDER / "dashboard.json"

HEAD = """\
# Made of rules.yaml by `python -m tests.deploy.monitoring`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: device-plugin-supervisor
  namespace: device-plugin-supervisor
  labels:
    app.kubernetes.io/name: device-plugin-supervisor
spec:
"""


def prometheus_rule() -> str:
    """The text of ``prometheusrule.yaml``: what ``rules.yaml`` says, as the operator's custom resource."""
    groups = RULES.read_text()
    return HEAD + indent(groups[groups.index("groups:") :], "  ")


def rules() -> list[dict[str, Any]]:
    """Every rule of ``rules.yaml``, records first."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    """The alerts by their names."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


class Query(NamedTuple):
    """One expression of the dashboard."""

    panel: str
    """The titles of its row and its panel."""
    expression: str
    instant: bool


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana reads it."""
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def queries() -> Iterator[Query]:
    """Every expression of every panel."""
    row = ""
    for panel in dashboard()["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
        for target in panel.get("targets", ()):
            yield Query(f"{row}: {panel['title']}", target["expr"], target["instant"])


# --- what an expression names -----------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"""
    (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<range>\[[^]]*\])
    | (?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
    | (?P<number>[0-9][0-9a-zA-Z.]*)
    | (?P<mark>[^\s\w])
    """,
    re.VERBOSE,
)
_GROUPING = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
_OPERATORS = frozenset({"and", "or", "unless", "offset", "bool", "inf", "nan"})


class Named(NamedTuple):
    """What an expression asks for by name."""

    metrics: dict[str, set[str]]
    """Each metric with the labels that are matched of it."""
    grouping: set[str]
    """Labels of ``by``, ``on`` and their like."""


def named(expression: str) -> Named:
    """The metrics and labels in an expression of PromQL that is otherwise good."""
    found = Named({}, set())
    tokens = [(str(match.lastgroup), match.group()) for match in _TOKEN.finditer(expression)]
    at = 0
    while at < len(tokens):
        kind, text = tokens[at]
        following = tokens[at + 1][1] if at + 1 < len(tokens) else ""
        if kind != "name" or text in _OPERATORS:
            at += 1
        elif text in _GROUPING:
            end = _end(tokens, at, ")")
            found.grouping.update(word for kind, word in tokens[at + 2 : end] if kind == "name")
            at = end
        elif following == "{":
            end = _end(tokens, at, "}")
            found.metrics.setdefault(text, set()).update(word for kind, word in tokens[at + 2 : end] if kind == "name")
            at = end
        else:
            # What is followed by a parenthesis, or by what it is grouped by, is a function.
            if following != "(" and following not in {"by", "without"}:
                found.metrics.setdefault(text, set())
            at += 1
    return found


def _end(tokens: list[tuple[str, str]], start: int, mark: str) -> int:
    return next(at for at in range(start, len(tokens)) if tokens[at] == ("mark", mark))


if __name__ == "__main__":
    PROMETHEUS_RULE.write_text(prometheus_rule())

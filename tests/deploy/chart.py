"""The Helm chart of ``deploy/chart``, rendered in this process, and the part of its schema that follows from the configuration's.

Run as a program (``python -m tests.deploy.chart``), this writes that part of ``values.schema.json`` anew.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from supervisor import plugins
from supervisor.cli.config_schema import schema
from supervisor.cli.survey import load_packages
from supervisor.plugins import LoadedPackage

FOLDER = Path(__file__).parents[2] / "deploy/chart"
SCHEMA = FOLDER / "values.schema.json"

ELSEWHERE = ("kubelet", "http", "kubernetes")
"""Sections of the configuration that follow from values of their own. A template refuses them, and names those values."""
_MARK = "config."
"""What the names of the configuration's definitions begin with, to tell them from the chart's own."""


def render(
    values: Mapping[str, Any] | None = None, name: str = "device-plugin-supervisor", namespace: str = "device-plugin-supervisor"
) -> dict[str, str]:
    """The text of each template. Raises the errors of ``helm_python`` where values or templates are wrong."""
    import helm_python  # hundreds of megabytes, so it is not everywhere

    with helm_python.Chart.load(FOLDER) as chart:
        rendered = chart.render(dict(values or {}), name=name, namespace=namespace)
    return {path.partition("/templates/")[2]: text for path, text in rendered.items()}


def objects(values: Mapping[str, Any] | None = None, **release: str) -> list[dict[str, Any]]:
    """All that would be applied, hooks and notes excepted, in the order of the templates' names."""
    return [each for each in _documents(render(values, **release)) if not is_hook(each)]


def hooks(values: Mapping[str, Any] | None = None, **release: str) -> list[dict[str, Any]]:
    """What Helm makes at its own time, first things first."""
    found = [each for each in _documents(render(values, **release)) if is_hook(each)]
    return sorted(found, key=lambda each: int(each["metadata"]["annotations"].get("helm.sh/hook-weight", "0")))


def is_hook(thing: Mapping[str, Any]) -> bool:
    return "helm.sh/hook" in thing["metadata"].get("annotations", {})


def _documents(rendered: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for path, text in sorted(rendered.items()):
        if path.endswith(".yaml"):
            yield from filter(None, yaml.safe_load_all(text))


# --- the schema -------------------------------------------------------------------------------------------------------


def config_schema() -> tuple[dict[str, Any], dict[str, Any]]:
    """What ``config`` may hold, and the definitions that it refers to."""
    found = load_packages(plugins.installed())
    types = {name: each.config_type for name, each in found.items() if isinstance(each, LoadedPackage)}
    whole = _portable(schema(types, unknown=[]))
    definitions = {_MARK + name: value for name, value in whole["$defs"].items()}
    properties = whole["properties"] | {name: {"description": "Follows from other values."} for name in ELSEWHERE}
    # An image may have plugins of others, whose keys only they know.
    definitions[_MARK + "Plugins"] = properties["plugins"] | {"additionalProperties": {"type": ["object", "null"]}}
    properties["plugins"] = definitions[_MARK + "Profile"]["properties"]["plugins"] = {"$ref": f"#/$defs/{_MARK}Plugins"}
    config = {
        "type": "object",
        "description": "The configuration file.",
        "properties": properties,
        "additionalProperties": False,
    }
    return config, _used(config, definitions)


def _portable(value: Any) -> Any:
    """The same for validators that do not know Python's regular expressions, with our names for definitions."""
    if isinstance(value, list):
        return [_portable(each) for each in value]
    if not isinstance(value, dict):
        return value
    plain = {name: _portable(each) for name, each in value.items()}
    if isinstance(reference := plain.get("$ref"), str):
        plain["$ref"] = reference.replace("#/$defs/", f"#/$defs/{_MARK}")
    if isinstance(pattern := plain.get("pattern"), str):
        if "(?" in pattern:  # Go's expressions, which Helm uses, cannot look ahead
            del plain["pattern"]
        else:
            plain["pattern"] = pattern.replace(r"\A", "^").replace(r"\Z", "$")
    return plain


def _used(config: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """The definitions that are referred to from ``config``, directly or not."""
    names: set[str] = set()
    waiting = [json.dumps(config)]
    while waiting:
        text = waiting.pop()
        new = {name for name in definitions if f'"#/$defs/{name}"' in text} - names
        names |= new
        waiting += [json.dumps(definitions[name]) for name in new]
    return {name: definitions[name] for name in sorted(names)}


def values_schema() -> str:
    """The text of ``values.schema.json``, with the configuration's part as it should be."""
    written = json.loads(SCHEMA.read_text())
    own = {name: value for name, value in written["$defs"].items() if not name.startswith(_MARK)}
    written["properties"]["config"], definitions = config_schema()
    written["$defs"] = own | definitions
    return json.dumps(written, indent=2) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(values_schema())

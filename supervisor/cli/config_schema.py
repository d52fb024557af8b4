"""``config-schema``: print the JSON Schema of the configuration file, with the section of every installed plugin package.

Editors use it to complete and to check. A package that cannot be loaded is told, and its section then takes any keys.
"""

import argparse
from collections.abc import Mapping
from typing import Any

import msgspec

from supervisor import plugins
from supervisor.cli.survey import load_packages
from supervisor.cli.tables import complain, show_json
from supervisor.config import PluginOptions, SupervisorConfig
from supervisor.plugins import LoadedPackage

EXAMPLES = """\
examples:
  %(prog)s > schema.json
  then begin the file with:  # yaml-language-server: $schema=schema.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's own arguments: none."""


def main(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    found = load_packages(plugins.installed())
    complain(*(str(each) for each in found.values() if not isinstance(each, LoadedPackage)))
    types = {name: each.config_type for name, each in found.items() if isinstance(each, LoadedPackage)}
    show_json(schema(types, unknown=[name for name in found if name not in types]))
    return 0


def schema(types: Mapping[str, type[msgspec.Struct] | None], unknown: list[str]) -> dict[str, Any]:
    """The whole file's schema. Packages in ``unknown`` are there, but nobody knows their keys."""
    wanted = [SupervisorConfig, PluginOptions, *(type_ for type_ in types.values() if type_ is not None)]
    references, components = msgspec.json.schema_components(wanted, ref_template="#/$defs/{name}")
    own = {reference["$ref"]: reference["$ref"].rpartition("/")[2] for reference in references}
    names = [own[reference["$ref"]] for reference in references]
    root, options = components.pop(names[0]), components.pop(names[1])
    sections: dict[str, Any] = {name: _section(options, {}) for name, type_ in types.items() if type_ is None}
    typed = [name for name, type_ in types.items() if type_ is not None]
    for name, component in zip(typed, names[2:], strict=True):
        sections[name] = _section(options, components[component])
    for name in unknown:
        sections[name] = {**_section(options, {}), "additionalProperties": True}
    root["properties"]["plugins"] = {
        "type": ["object", "null"],
        "description": "One section for each plugin package.",
        "properties": dict(sorted(sections.items())),
        "additionalProperties": False,
    }
    components["Profile"]["properties"]["plugins"] = root["properties"]["plugins"]
    used = {name: value for name, value in components.items() if name != "PluginSection"}
    whole: dict[str, Any] = _portable({"$schema": "https://json-schema.org/draft/2020-12/schema", **root, "$defs": used})
    return whole


def _portable(value: Any) -> Any:
    """The same with patterns as JSON Schema has them: its dialect takes Python's anchors for letters, or refuses them."""
    if isinstance(value, list):
        return [_portable(each) for each in value]
    if not isinstance(value, dict):
        return value
    plain = {key: _portable(each) for key, each in value.items()}
    if isinstance(pattern := plain.get("pattern"), str):
        plain["pattern"] = pattern.replace(r"\A", "^").replace(r"\Z", "$")
    return plain


def _section(options: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The core's keys and the plugin's own, side by side as in the file."""
    return {
        "type": ["object", "null"],
        "properties": {**options["properties"], **own.get("properties", {})},
        "required": list(own.get("required", ())),
        "additionalProperties": False,
    }

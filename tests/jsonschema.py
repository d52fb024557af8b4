"""The part of JSON Schema 2020-12 that published schemas use, as a check. A keyword that it does not know is an error."""

from collections.abc import Iterator, Mapping
from typing import Any

_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
}
_REMARKS = {"$schema", "$defs", "title", "description", "default"}
_OF_OBJECTS = {"properties", "required", "additionalProperties"}


def violations(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any] | None = None, at: str = "$") -> Iterator[str]:
    """Everything in the value that the schema does not allow, each with its place."""
    root = schema if root is None else root
    for keyword, wanted in schema.items():
        match keyword:
            case "$ref":
                yield from violations(value, root["$defs"][wanted.rpartition("/")[2]], root, at)
            case "type":
                if not _is_a(value, wanted):
                    yield f"{at}: {value!r} is no {wanted}"
            case "enum":
                if value not in wanted:
                    yield f"{at}: {value!r} is none of {wanted}"
            case "anyOf":
                if all(any(violations(value, option, root, at)) for option in wanted):
                    yield f"{at}: {value!r} is nothing of {wanted}"
            case "items":
                for number, item in enumerate(value if isinstance(value, list) else ()):
                    yield from violations(item, wanted, root, f"{at}[{number}]")
            case _ if keyword not in _REMARKS | _OF_OBJECTS:
                raise NotImplementedError(keyword)
    if isinstance(value, dict):
        yield from _of_object(value, schema, root, at)


def _is_a(value: Any, name: str) -> bool:
    return isinstance(value, _TYPES[name]) and (name == "boolean" or not isinstance(value, bool))


def _of_object(value: Mapping[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any], at: str) -> Iterator[str]:
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{at}: {name} is missing"
    known = schema.get("properties", {})
    for name, member in value.items():
        if name in known:
            yield from violations(member, known[name], root, f"{at}.{name}")
        elif schema.get("additionalProperties", True) is False:
            yield f"{at}: {name} is not known"

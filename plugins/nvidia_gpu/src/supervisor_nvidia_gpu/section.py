"""What was said in the section of the configuration file, told apart from what was left out.

NVIDIA's file and environment variables fill in what the section leaves out, so ``migStrategy: none`` must differ from silence.
``NvidiaGpuSection`` has the keys of ``NvidiaGpuConfig``, checked by the same rules, and fills none of them in.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from supervisor_nvidia_gpu.config import NvidiaGpuConfig

_WHOLE: dict[type[Struct], type[Struct]] = {}
"""Open type to the type with defaults that it is made of."""


def _complete(section: Struct) -> Struct:
    """The section with all defaults. Raises ``ValueError`` where the rules between its keys are broken."""
    given = {name: getattr(section, name) for name in section.__struct_fields__}
    return _WHOLE[type(section)](
        **{name: _complete(value) if type(value) in _WHOLE else value for name, value in given.items() if value is not UNSET}
    )


def _check(section: Struct) -> None:
    _complete(section)


def _opened(whole: type[Struct], name: str) -> type[Struct]:
    """The type with the same keys and no defaults; so are those of its keys that are sections themselves."""
    fields: list[tuple[str, Any, Any]] = []
    for field in msgspec.structs.fields(whole):
        inner = field.type
        if isinstance(inner, type) and issubclass(inner, Struct):
            inner = _opened(inner, f"{inner.__name__}Section")
        fields.append((field.name, inner | UnsetType, UNSET))
    opened = msgspec.defstruct(
        name,
        fields,
        module=__name__,
        namespace={"__post_init__": _check, "__doc__": whole.__doc__},
        frozen=True,
        forbid_unknown_fields=True,
        rename={field.name: field.encode_name for field in msgspec.structs.fields(whole)},
        kw_only=True,
    )
    _WHOLE[opened] = whole
    return opened


NvidiaGpuSection: type[Struct] = _opened(NvidiaGpuConfig, "NvidiaGpuSection")
"""The type of ``plugins.nvidia-gpu`` as it is decoded."""


def said(section: Struct) -> dict[str, Any]:
    """The keys that were given, in the words of the file and as plain values.

    Of an ``NvidiaGpuConfig``, which cannot tell, those that differ from their defaults.
    """
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(section):
        value = getattr(section, field.name)
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        if value is not UNSET and value != default:
            found[field.encode_name] = said(value) if isinstance(value, Struct) else msgspec.to_builtins(value)
    return found


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Layers of plain values, the last one on top: mappings are merged, all else is replaced."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            below = result.get(key)
            if isinstance(below, Mapping) and isinstance(value, Mapping):
                value = merged(below, value)
            result[key] = value
    return result

"""The environment variables of NVIDIA's plugin: what they say in our words, and what of it is not supported."""

from collections.abc import Mapping

from supervisor_nvidia_gpu.compat.healthchecks import DISABLE, ENABLE, health
from supervisor_nvidia_gpu.compat.keys import KEYS, NOT_SUPPORTED, VARIABLES, VARIABLES_NOT_SUPPORTED, Key, NotSupportedError
from supervisor_nvidia_gpu.compat.layer import Layer

_KEYS = {**KEYS, "CONFIG_FILE": Key(("nvidiaConfig",))}


def load(environ: Mapping[str, str]) -> Layer:
    """The environment as a layer. A variable with a value that cannot be is a problem and says nothing; the others count.

    A variable that is set to nothing is left out. Those of other programs are no business of ours.
    """
    layer = Layer()
    for name in VARIABLES:
        if value := environ.get(name, "").strip():
            _take(layer, name, value)
    for name in sorted(environ):
        if environ[name].strip():
            _name_unsupported(layer, name)
    rules, problems = health(environ.get(DISABLE, ""), environ.get(ENABLE, ""))
    layer.problems += problems
    if rules:
        layer.said["health"] = rules
        layer.origins["health"] = " and ".join(name for name in (DISABLE, ENABLE) if environ.get(name, "").strip())
    return layer


def _take(layer: Layer, name: str, text: str) -> None:
    known, parse = VARIABLES[name]
    meaning = _KEYS.get(known)
    alone = Layer()
    try:
        value = parse(text)
        if isinstance(meaning, Key):
            alone.put(meaning, value, name)
        elif value is not False:
            layer.unsupported.append(f"{name} is not supported, because {NOT_SUPPORTED[known]}")
    except NotSupportedError as error:
        layer.unsupported.append(f"{name}={text[:80]} is not supported, because {error}")
    except ValueError as error:
        layer.problems.append(f"{name}: {error}")
    else:
        layer.add(alone)


def _name_unsupported(layer: Layer, name: str) -> None:
    if name in VARIABLES_NOT_SUPPORTED:
        layer.unsupported.append(f"{name} is not supported, because {VARIABLES_NOT_SUPPORTED[name]}")
    elif name.startswith("GFD_"):
        layer.unsupported.append(f"{name} is not supported, because {NOT_SUPPORTED['flags.gfd']}")

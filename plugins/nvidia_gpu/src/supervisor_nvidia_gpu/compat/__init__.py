"""NVIDIA's own configuration, file and environment, folded into ours: our section wins, then the environment, then the file.

Whatever is found there is honoured or named, nothing is passed over in silence. Nothing here raises for what others wrote.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from supervisor_nvidia_gpu.compat import environment, file
from supervisor_nvidia_gpu.compat.layer import Layer, misfit
from supervisor_nvidia_gpu.config import NvidiaGpuConfig
from supervisor_nvidia_gpu.section import merged, said

__all__ = ["Folded", "fold"]

_ENTRY = re.compile(r"\[\d+\]")
_JOINED = frozenset({"naming", "health"})
"""Where lists of several sources become one."""


class Folded(Struct, frozen=True):
    """The configuration that counts."""

    config: NvidiaGpuConfig
    unsupported: tuple[str, ...] = ()
    """What is known there and not here, or not known at all: a sentence each, which begins with the place."""
    problems: tuple[str, ...] = ()
    """What is wrong there, likewise. A broken file is left out as a whole, a broken variable alone."""
    sources: Mapping[str, str] = {}
    """Our keys that neither our section nor a default decides, ``cdi.annotationPrefix``, and where each was said."""


def fold(section: Struct, environ: Mapping[str, str], read: Callable[[str], bytes | None]) -> Folded:
    """All sources as one configuration.

    ``section`` is an ``NvidiaGpuSection``. (An ``NvidiaGpuConfig`` does as well, but cannot say that it means a default.)
    ``read`` gives a file's bytes, one more than 1 MiB at most being of use, or ``None`` where there is no such file.
    """
    mine = said(section)
    variables = environment.load(environ) if mine.get("environment", True) else Layer()
    path = mine.get("nvidiaConfig") or variables.said.get("nvidiaConfig")
    written = file.load(path, read) if path else Layer()
    for layer in (written, variables):
        _place_root(layer, variables.said.get("driverRoot") or written.said.get("driverRoot"))
    problems = [*written.problems, *variables.problems]
    layers = [written, variables]
    while layers and (problem := misfit(_stacked(layers, mine), _origins(layers))):
        problems.append(problem)  # only together they do not fit: each has been checked alone
        layers.pop(0)
    return Folded(
        config=msgspec.convert(_stacked(layers, mine), NvidiaGpuConfig),
        unsupported=(*written.unsupported, *variables.unsupported),
        problems=tuple(problems),
        sources={
            path: where
            for path, where in _origins(layers).items()
            if not _ENTRY.search(path) and (path in _JOINED or not _holds(mine, path))
        },
    )


def _stacked(layers: list[Layer], mine: Mapping[str, Any]) -> dict[str, Any]:
    """The layers under our section. Lists of rules are joined so that our rules win: of names the first one, of XIDs the last."""
    below = merged(*(layer.said for layer in layers))
    result = merged(below, mine)
    if names := [*mine.get("naming", ()), *below.get("naming", ())]:
        result["naming"] = names
    if xids := [*below.get("health", {}).get("xids", ()), *mine.get("health", {}).get("xids", ())]:
        result["health"] = {**result["health"], "xids": xids}
    return result


def _origins(layers: list[Layer]) -> dict[str, str]:
    return {path: where for layer in layers for path, where in layer.origins.items()}


def _holds(tree: Any, path: str) -> bool:
    """Whether our section says something at a path; a mapping that it has may leave room."""
    for name in path.replace("[...]", ".*").split("."):
        if not isinstance(tree, Mapping) or name not in tree:
            return False
        tree = tree[name]
    return not isinstance(tree, Mapping)


def _place_root(layer: Layer, root: str | None) -> None:
    """NVIDIA's ``containerDriverRoot`` is where the driver's root is seen, our ``driverRootMount`` where the host's is."""
    mount = layer.said.get("driverRootMount")
    if mount is None or root in {None, "/"}:
        return
    assert root is not None
    if mount.endswith(root):
        layer.said["driverRootMount"] = mount.removesuffix(root) or "/"
        return
    del layer.said["driverRootMount"]
    layer.unsupported.append(
        f"{layer.origins.pop('driverRootMount')}: {mount} is not supported, because {root} is looked for below the place where this "
        "process sees the host's root: mount that as a whole, and name the place as driverRootMount"
    )

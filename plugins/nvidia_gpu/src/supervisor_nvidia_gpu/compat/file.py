"""NVIDIA's configuration file, ``version: v1``, in YAML or JSON: what it says in our words, and what of it is not supported."""

import difflib
import re
from collections.abc import Callable
from typing import Any

from supervisor_nvidia_gpu.compat.keys import KEYS, NOT_SUPPORTED, NotSupportedError, Records
from supervisor_nvidia_gpu.compat.layer import Layer
from supervisor_nvidia_gpu.compat.marked import Marked, Unreadable, plain, read

MOST_SENTENCES = 100
"""More than this nobody reads."""

_KNOWN = (*KEYS, *NOT_SUPPORTED)
_WORD = re.compile(r"[-\w/]{1,80}")


def load(path: str, source: Callable[[str], bytes | None]) -> Layer:
    """The file as a layer. One that is absent or broken says nothing, but has a problem: half a configuration is none."""
    result, layer = Layer(), Layer()
    try:
        data = source(path)
        root = read(data) if data is not None else None
    except OSError as error:
        result.problems.append(f"{path}: cannot be read: {error.strerror or error}")
        return result
    except Unreadable as error:
        result.problems.append(f"{path}:{error.line}: {error}")
        return result
    if root is None:
        result.problems.append(f"{path}: does not exist, but is named as NVIDIA's configuration file")
        return result
    _Reading(path, layer).mapping(root, "", "")
    _check_sharing(path, root, layer)
    result.add(layer)
    return result


class _Reading:
    """A way through the tree of one file."""

    def __init__(self, path: str, layer: Layer) -> None:
        self._path = path
        self._layer = layer

    def mapping(self, node: Marked, known: str, shown: str, entry: dict[str, Any] | None = None, at: str = "") -> None:
        """Take over all keys of a mapping. ``known`` is its name in the tables, ``shown`` with the numbers of lists.

        ``entry`` and ``at``: what an entry of a list becomes, and its path among our keys.
        """
        if not isinstance(node.value, dict):
            self._problem(node, shown, "Expected a mapping")
            return
        for name, child in node.value.items():
            self._key(child, _join(known, name), _join(shown, name), entry, at)

    def _key(self, node: Marked, known: str, shown: str, entry: dict[str, Any] | None, at: str) -> None:
        meaning = KEYS.get(known)
        if node.value is None:
            return  # as if it were left out, whatever it is
        if known in NOT_SUPPORTED:
            if node.value not in ("", False, {}, []):
                self._unsupported(node, shown, f"is not supported, because {NOT_SUPPORTED[known]}")
        elif isinstance(meaning, Records):
            self._records(node, known, shown, meaning)
        elif meaning is not None:
            try:
                self._layer.put(meaning, plain(node), self._where(node, shown), into=entry, at=at)
            except NotSupportedError as error:
                self._unsupported(node, f"{shown}: {_word(node.value)}", f"is not supported, because {error}")
        elif any(key.startswith(f"{known}.") for key in _KNOWN):
            self.mapping(node, known, shown)
        else:
            near = _did_you_mean(known) if len(self._layer.unsupported) < MOST_SENTENCES else ""
            self._unsupported(node, shown, f"is not a known key{near}")

    def _records(self, node: Marked, known: str, shown: str, records: Records) -> None:
        if not isinstance(node.value, list):
            self._problem(node, shown, "Expected a list")
            return
        self._layer.origins.setdefault(".".join(records.target), self._where(node, shown))
        for number, item in enumerate(node.value):
            place = f"{shown}[{number}]"
            entry, at = self._layer.append(records.target, self._where(item, place))
            self.mapping(item, f"{known}[]", place, entry, at)
            missing = [name for name in records.required if isinstance(item.value, dict) and name not in item.value]
            if missing:
                self._problem(item, place, f"the key {missing[0]} is missing")

    def _where(self, node: Marked, shown: str) -> str:
        return f"{self._path}:{node.line}: {shown}"

    def _problem(self, node: Marked, shown: str, text: str) -> None:
        self._say(self._layer.problems, node, ": ".join(filter(None, (f"{self._path}:{node.line}", shown, text))))

    def _unsupported(self, node: Marked, shown: str, text: str) -> None:
        self._say(self._layer.unsupported, node, f"{self._where(node, shown)} {text}")

    def _say(self, sentences: list[str], node: Marked, text: str) -> None:
        if len(sentences) < MOST_SENTENCES:
            sentences.append(text)
        elif len(sentences) == MOST_SENTENCES:
            sentences.append(f"{self._path}:{node.line}: and more of the like from here on")


def _join(above: str, name: str) -> str:
    """The path of a key. One that is no plain word is quoted, so that ``"flags.migStrategy": mixed`` is not taken for another."""
    if not _WORD.fullmatch(name):
        return f"{above}[{name[:80]!r}]"
    return f"{above}.{name}" if above else name


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)[:80]


def _did_you_mean(name: str) -> str:
    """A half-sentence that proposes the nearest of the keys that may stand beside an unknown one."""
    above = name.rpartition(".")[0]
    start = len(above) + 1 if above else 0
    beside = {
        known[start:].partition(".")[0].partition("[")[0] for known in _KNOWN if known.startswith(f"{above}." if above else "")
    }
    near = [] if name.endswith("]") else difflib.get_close_matches(name[start:], sorted(beside), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _check_sharing(path: str, root: Marked, layer: Layer) -> None:
    """NVIDIA's plugin refuses both ways of sharing at once, so a file with both was never in use."""
    sharing = root.value.get("sharing") if isinstance(root.value, dict) else None
    ways = sharing.value if sharing is not None and isinstance(sharing.value, dict) else {}
    if all(name in ways and ways[name].value for name in ("timeSlicing", "mps")):
        layer.problems.append(f"{path}:{ways['mps'].line}: sharing.mps: it excludes sharing.timeSlicing; keep one of them")

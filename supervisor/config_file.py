"""The configuration file: one YAML text, typed and strict, every mistake reported with its line, column and key.

Each plugin section holds two kinds of keys: those that the core knows for every plugin (``PluginOptions``) and the plugin's own,
which stay as they are until ``Document.decode_plugin`` gives them the type that the plugin's package states.
"""

import errno
import os
import stat
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from supervisor.config import API_VERSION, DEFAULTS, KIND, OPTION_KEYS, PluginOptions, PluginSection, SupervisorConfig
from supervisor.decoding import decode, did_you_mean
from supervisor.errors import ConfigError, PluginRefused
from supervisor.host import Host
from supervisor.yamltext import Node, Position, Problem, read

DEFAULT_PATH = "/etc/device-plugin-supervisor/config.yaml"
LARGEST = 1 << 20
"""Bytes. A ConfigMap cannot hold more, and parsing time grows with the size."""
MOST_LINES = 100
"""Problems in one report."""


class Document:
    """A configuration that is valid as far as the core knows, and the text it came from."""

    def __init__(
        self,
        path: str,
        data: bytes | None,
        config: SupervisorConfig,
        root: Node,
        profiles: tuple[str, ...] = (),
        plugins: Mapping[str, Node] | None = None,
    ) -> None:
        """``plugins``: each section's part of the text, if that is not what stands under ``plugins``."""
        self.path = path
        self.data = data
        """The text, or ``None`` where there is no file and the defaults hold."""
        self.config = config
        self.profiles = profiles
        """The names of the profiles that hold, in the order of the file."""
        self._root = root
        self._plugins = _section_nodes(root) if plugins is None else plugins

    def with_profiles(self, names: Collection[str]) -> "Document":
        """The same text where these profiles hold: their sections take the place of those under ``plugins``, the last one wins."""
        nodes = _section_nodes(self._root)
        sections, _ = _sections(self._root.children.get("plugins"))
        holding = []
        for number, profile in enumerate(self.config.profiles):
            if profile.name in names:
                holding.append(profile.name)
                nodes |= _section_nodes(self._root.children["profiles"].children[number])
                sections |= profile.plugins
        config = replace(self.config, plugins=sections)
        return Document(self.path, self.data, config, self._root, tuple(holding), nodes)

    def section(self, name: str) -> PluginSection:
        return self.config.section(name)

    def strangers(self, installed: Iterable[str]) -> dict[str, str]:
        """The sections that are on and belong to no installed package, in the order of the file, each with the reason and the cure.

        No mistake as such: perhaps a slip, perhaps an image without this plugin. One that is switched off asks for nothing.
        """
        known = frozenset(installed)
        cure = ": install one that has, switch the section off (enabled: false) or remove it"
        return {
            name: self.problem(f"no installed plugin package has this name{did_you_mean(name, known) or cure}", "plugins", name)
            for name, section in self.config.plugins.items()
            if name not in known and section.options.enabled
        }

    def decode_plugin(self, name: str, type_: type[Struct] | None) -> Any:
        """The plugin's own keys as a ``type_``; ``None`` for a plugin that states no type, which then may have no keys.

        Raises ``ConfigError`` with all problems of the section, ``PluginRefused`` where the type itself cannot be used.
        """
        value, problems = self._decode(name, type_)
        if problems:
            raise ConfigError(render(self.path, problems))
        return value

    def problem(self, text: str, *keys: str | int) -> str:
        """One line about the value under ``keys``, in the form of all problems, or about the nearest thing there is."""
        node = self._root
        if keys[:1] == ("plugins",) and (section := self._plugins.get(str(keys[1]))) is not None:
            node, keys = section, keys[2:]
        for key in keys:
            node = node.children.get(key, node)
        return render(self.path, [Problem(node.key_at, node.path, text)])[0]

    def _decode(self, name: str, type_: type[Struct] | None) -> tuple[Any, list[Problem]]:
        section = self._section_node(name).without(*OPTION_KEYS)
        if type_ is None:
            return None, [
                Problem(child.key_at, child.path, f"unknown key: the plugin {name} has no keys of its own")
                for child in section.children.values()
            ]
        known = _own_keys(name, type_)
        value, problems = decode(section, type_, OPTION_KEYS)
        if not type_.__struct_config__.forbid_unknown_fields:  # a section is strict even where its author forgot it
            problems += [
                Problem(child.key_at, child.path, f"unknown key{did_you_mean(key, known)}")
                for key, child in section.children.items()
                if key not in known
            ]
        return value, problems

    def _section_node(self, name: str) -> Node:
        found = self._plugins.get(name)
        if found is None or found.value is None:
            return Node(self._root.children.get("plugins", self._root).at, f"plugins.{name}", {})
        return found


def load(path: str | os.PathLike[str], *, required: bool = True) -> Document:
    """Read, parse and check a file, except for the plugins' own keys.

    Raises ``ConfigError``. An absent file gives the defaults unless it is ``required``. May block and takes up to seconds for
    the largest file: not for the main loop.
    """
    path = os.fspath(path)
    data = read_file(path, required=required)
    return defaults(path) if data is None else parse(data, path)


def defaults(path: str = DEFAULT_PATH) -> Document:
    """What holds where there is no file."""
    return Document(path, None, DEFAULTS, Node(None, "", {}))


def read_file(path: str, *, required: bool = True) -> bytes | None:
    """The bytes of a configuration file, refused by size before anything looks at them; ``None`` if absent and not required."""
    try:
        # Without O_NONBLOCK a named pipe would hold us up for ever.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        if not required:
            return None
        raise ConfigError((f"{path}: does not exist: create it, or name another with --config",)) from None
    except (OSError, ValueError) as error:
        raise ConfigError((f"{path!s}: cannot be read: {_reason(error)}",)) from None
    try:
        data = _read_regular(fd, path)
    except OSError as error:
        raise ConfigError((f"{path}: cannot be read: {_reason(error)}",)) from None
    finally:
        os.close(fd)
    if len(data) > LARGEST:
        raise ConfigError((f"{path}: is longer than {LARGEST} bytes (1 MiB): no configuration needs that",))
    return data


def _read_regular(fd: int, path: str) -> bytes:
    """At most one byte more than allowed. Raises ``OSError``, and ``ConfigError`` for what is no regular file."""
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode):
        what = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
        raise ConfigError((f"{path}: is {what}: name the YAML file itself",))
    data = b""
    while len(data) <= LARGEST and (more := os.read(fd, LARGEST + 1 - len(data))):
        data += more
    return data


def parse(data: bytes, path: str = "config.yaml") -> Document:
    """Check a text. Raises ``ConfigError``, and nothing else, for any ``data``."""
    root, problems = read(data)
    if root is None or root.value is None:
        if not problems:
            cure = f"begin with apiVersion: {API_VERSION} and kind: {KIND}"
            problems.append(Problem(Position(1, 1), "", f"is empty: {cure}"))
        raise ConfigError(render(path, problems))
    core = root.without("plugins", *(key for key, child in root.children.items() if child.value is None))
    if not isinstance(root.value, dict):
        core = root
    config, found = decode(_without_profiles_sections(core), SupervisorConfig, ["plugins"])
    sections, found_in_sections = _sections(root.children.get("plugins"))
    profiles, found_in_profiles = _profiles(root.children.get("profiles"))
    problems += found + found_in_sections + found_in_profiles
    if problems:
        raise ConfigError(render(path, problems))
    whole = tuple(replace(profile, plugins=own) for profile, own in zip(config.profiles, profiles, strict=True))
    return Document(path, data, replace(config, plugins=sections, profiles=whole), root)


def _section_nodes(parent: Node) -> dict[str, Node]:
    plugins = parent.children.get("plugins")
    return {} if plugins is None else dict(plugins.children)


def _without_profiles_sections(core: Node) -> Node:
    """The core's part of the text: what stands under ``plugins`` of a profile is for the plugins, as at the top."""
    profiles = core.children.get("profiles")
    if profiles is None or not isinstance(profiles.value, list):
        return core
    twin, listed = core.without(), profiles.copy()
    listed.children = {
        number: profile.without("plugins") if isinstance(profile.value, dict) else profile
        for number, profile in profiles.children.items()
    }
    listed.rebuild()
    twin.children["profiles"] = listed
    twin.rebuild()
    return twin


def _profiles(listed: Node | None) -> tuple[list[dict[str, PluginSection]], list[Problem]]:
    """The sections of each profile, and what is wrong with profiles beyond the types of their keys."""
    found: list[dict[str, PluginSection]] = []
    problems: list[Problem] = []
    names: set[str] = set()
    for profile in listed.children.values() if listed is not None and isinstance(listed.value, list) else ():
        sections, mistakes = _sections(profile.children.get("plugins"))
        found.append(sections)
        problems += mistakes
        name, when = profile.children.get("name"), profile.children.get("when")
        if name is not None and isinstance(name.value, str):
            if name.value in names:
                problems.append(Problem(name.at, name.path, "Expected another name: a profile above has this one"))
            names.add(name.value)
        problems += _unseen(when.children.get("path")) if when is not None else []
        if when is not None and when.value == {}:
            problems.append(Problem(when.at, when.path, "Expected a condition: sections for every node belong under plugins"))
    return found, problems


def _sections(plugins: Node | None) -> tuple[dict[str, PluginSection], list[Problem]]:
    sections: dict[str, PluginSection] = {}
    problems: list[Problem] = []
    if plugins is None or plugins.value is None:
        return sections, problems
    if not isinstance(plugins.value, dict):
        return sections, [Problem(plugins.at, plugins.path, "Expected a mapping of plugin names to their sections")]
    for name, node in plugins.children.items():
        if node.value is not None and not isinstance(node.value, dict):
            problems.append(Problem(node.at, node.path, f"Expected a mapping, the section of the plugin {name}"))
            continue
        own = node.without(*OPTION_KEYS)
        options, found = decode(node.without(*own.children), PluginOptions)
        problems += found
        sections[name] = PluginSection(options, own.value)
    return sections, problems


def _unseen(paths: Node | None) -> list[Problem]:
    """Patterns of paths that this process could never see."""
    patterns = paths.children.values() if paths is not None and isinstance(paths.value, list) else ()
    text = "Expected a path below /sys, /dev, /proc or /run/udev: no other of the host's is seen"
    return [
        Problem(each.at, each.path, text)
        for each in patterns
        if isinstance(each.value, str) and Host().local(each.value) is None
    ]


def _own_keys(name: str, type_: type[Struct]) -> frozenset[str]:
    """The keys that a plugin's type knows. Raises ``PluginRefused`` where it cannot be the type of a section."""
    try:
        info = msgspec.inspect.type_info(type_)
    except (TypeError, NameError) as error:
        raise PluginRefused(f"plugin {name}: config_type() cannot be decoded: {error}") from error
    if not isinstance(info, msgspec.inspect.StructType) or info.array_like:
        raise PluginRefused(f"plugin {name}: config_type() must be a msgspec.Struct that is a mapping, not {type_!r}")
    keys = frozenset(known.encode_name for known in info.fields)
    if taken := sorted(keys & OPTION_KEYS):
        raise PluginRefused(f"plugin {name}: config_type() uses keys that belong to the core: {', '.join(taken)}")
    return keys


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.errno == errno.EACCES:
        return "permission denied: make it readable for this user"
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def render(path: str, problems: Iterable[Problem]) -> tuple[str, ...]:
    """The first problems as ``file:line:column: key: text``, in the order of the file."""
    last = Position(1 << 62, 0)
    ordered = sorted(dict.fromkeys(problems), key=lambda problem: problem.at or last)
    lines = [
        ": ".join(filter(None, (_place(path, problem.at), problem.path, problem.text))) for problem in ordered[:MOST_LINES]
    ]
    if len(ordered) > MOST_LINES:
        lines.append(f"{path}: and {len(ordered) - MOST_LINES} more problems")
    return tuple(lines)


def _place(path: str, at: Position | None) -> str:
    return path if at is None else f"{path}:{at.line}:{at.column}"

"""The configuration file: what is read, what is refused, and how it is said."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from supervisor.config import (
    API_VERSION,
    DEFAULTS,
    KIND,
    AuthConfig,
    HostConfig,
    HttpConfig,
    KubeletConfig,
    LedgerConfig,
    LogConfig,
    PluginOptions,
    PluginSection,
    SupervisorConfig,
    TlsConfig,
)
from supervisor.config_file import LARGEST, MOST_LINES, Document, defaults, load, parse
from supervisor.errors import ConfigError, PluginRefused

HEAD = f"apiVersion: {API_VERSION}\nkind: {KIND}\n"
ON_THE_WAY = "Anybody on the way could read a token sent over plain HTTP"
TLS_TOO = "give tls.certFile and tls.keyFile too"


class Rule(Struct, frozen=True, forbid_unknown_fields=True):
    """One rule of the sample plugin."""

    name: str
    replicas: Annotated[int, Meta(ge=1)] = 1


class Sample(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The section of a sample plugin."""

    resources: tuple[Rule, ...] = ()
    labels: Mapping[str, str] = {}


class Lenient(Struct, frozen=True):
    """A section whose author forgot to forbid unknown keys."""

    one: int = 1


def _problems(text: str | bytes) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse(text.encode() if isinstance(text, str) else text)
    return caught.value.problems


def _plugin_problems(text: str, name: str, type_: type[Struct] | None) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse((HEAD + text).encode()).decode_plugin(name, type_)
    return caught.value.problems


def test_the_least_file_is_the_defaults() -> None:
    """Version and kind are enough."""
    assert parse(HEAD.encode()).config == DEFAULTS


def test_a_whole_file_is_read() -> None:
    """Every section arrives, and a plugin's section is split."""
    document = parse(
        (
            HEAD + "kubelet: {devicePluginsDir: /a, podResourcesSocket: /b}\n"
            'http: {listen: ":9410"}\n'
            "host: {sysfs: /host/sys, runUdev: /host/run/udev}\n"
            "log: {level: debug, format: json}\n"
            "ledger: {tombstoneSeconds: 60}\n"
            "plugins:\n"
            "  sample:\n"
            "    lookInterval: 5\n"
            "    isolation: process\n"
            "    resources: [{name: example.com/a, replicas: 2}]\n"
        ).encode()
    )
    assert document.config == SupervisorConfig(
        API_VERSION,
        KIND,
        kubelet=KubeletConfig("/a", "/b"),
        http=HttpConfig(":9410"),
        host=HostConfig(sysfs="/host/sys", run_udev="/host/run/udev"),
        log=LogConfig("debug", "json"),
        ledger=LedgerConfig(60.0),
        plugins={
            "sample": PluginSection(
                PluginOptions(look_interval=5.0, isolation="process"),
                {"resources": [{"name": "example.com/a", "replicas": 2}]},
            )
        },
    )
    assert document.decode_plugin("sample", Sample) == Sample(resources=(Rule("example.com/a", 2),))


def test_sections_may_be_left_empty() -> None:
    """A section whose keys are all commented out is no mistake."""
    document = parse((HEAD + "http:\nplugins:\n  sample:\n  # off: 1\n").encode())
    assert document.config == msgspec.structs.replace(DEFAULTS, plugins={"sample": PluginSection()})
    assert document.decode_plugin("sample", Sample) == Sample()
    assert parse((HEAD + "plugins:\n").encode()).config == DEFAULTS


def test_a_plugin_that_is_not_mentioned_gets_its_defaults() -> None:
    """With a type, its defaults; without one, nothing."""
    assert defaults().decode_plugin("sample", Sample) == Sample()
    assert defaults().decode_plugin("plain", None) is None


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", [f"1:1: is empty: begin with apiVersion: {API_VERSION} and kind: {KIND}"]),
        ("# nothing\n", [f"1:1: is empty: begin with apiVersion: {API_VERSION} and kind: {KIND}"]),
        ("just text", ["1:1: Expected mapping, got str"]),
        (b"\x7fELF\x02\x01\x01\x00\x00", ["1:1: holds the character U+007F: is it a binary file?"]),
        ("kind: SupervisorConfig", [f"1:1: the key apiVersion is missing: write apiVersion: {API_VERSION}"]),
        (
            f"apiVersion: v1\nkind: {KIND}",
            [f"1:13: apiVersion: Expected {API_VERSION}, got 'v1'"],
        ),
        (
            f"apiVersion: {API_VERSION}\nkind: ConfigMap",
            [f"2:7: kind: Expected {KIND}, got 'ConfigMap'"],
        ),
        (HEAD + "htttp: {}", ["3:1: htttp: unknown key; did you mean http?"]),
        (HEAD + "plugin: {}", ["3:1: plugin: unknown key; did you mean plugins?"]),
        (HEAD + "kubelet: /var", ["3:10: kubelet: Expected mapping, got str"]),
        (HEAD + "kubelet: {devicePluginsDir: a}", ["3:29: kubelet.devicePluginsDir: Expected an absolute path, got 'a'"]),
        (HEAD + "http: {listen: 9410}", ['3:16: http.listen: Expected str, got int: write "9410" in quotes']),
        (
            HEAD + "http: {listen: nine}",
            ["3:16: http.listen: Expected address:port, like 127.0.0.1:9410 or :9410, got 'nine'"],
        ),
        (
            HEAD + "http: {auth: {}}",
            ["3:14: http.auth: Expected bearerTokenFile or clientCaFile: leave auth out to let everyone see everything"],
        ),
        (HEAD + "http: {auth: {bearerTokenFile: /t, token: x}}", ["3:36: http.auth.token: unknown key"]),
        (
            HEAD + "http: {auth: {clientCaFile: /ca}}",
            ["3:29: http.auth.clientCaFile: Clients show certificates over TLS only: " + TLS_TOO],
        ),
        (
            HEAD + 'http: {listen: ":1", auth: {bearerTokenFile: /t}}',
            [f"3:46: http.auth.bearerTokenFile: {ON_THE_WAY}: {TLS_TOO}, or listen on 127.0.0.1"],
        ),
        (HEAD + "http: {tls: {certFile: /c}}", ["3:13: http.tls: the key keyFile is missing"]),
        (
            HEAD + "http: {tls: {certFile: c, keyFile: /k}}",
            ["3:24: http.tls.certFile: Expected an absolute path, got 'c'"],
        ),
        (HEAD + "plugins: [a]", ["3:10: plugins: Expected a mapping of plugin names to their sections"]),
        (HEAD + "plugins: {a: 5}", ["3:14: plugins.a: Expected a mapping, the section of the plugin a"]),
        (HEAD + "plugins: {a: {rpcSlots: 0}}", ["3:25: plugins.a.rpcSlots: Expected int >= 1"]),
        (
            HEAD + "plugins: {a: {memoryLimit: much}}",
            ["3:28: plugins.a.memoryLimit: Expected a size like 512Mi, 1Gi or 2G, or a number of bytes, got 'much'"],
        ),
        (HEAD + "kind: again", ["3:1: kind: duplicate key, first in line 2"]),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_its_place_and_cure(text: str | bytes, problems: list[str]) -> None:
    """File, line, column, key and what to do, and nothing that only follows from it."""
    assert _problems(text) == tuple(f"config.yaml:{problem}" for problem in problems)


def test_a_report_is_never_endless() -> None:
    """A file of mistakes gives the first ones and the number of the others, in lines that a terminal can show."""
    problems = _problems(HEAD + "a: *x\n" * 1000)
    assert len(problems) == MOST_LINES + 1
    assert problems[0] == "config.yaml:3:4: a: aliases (*x) are not allowed: write the value out"
    assert problems[-1] == f"config.yaml: and {1000 - MOST_LINES} more problems"


@pytest.mark.parametrize(
    "text",
    [
        "? {long}\n: 1",
        "{long}: *{long}",
        "a: !{long} 1",
        "a: &{long} 1",
        "http: {{listen: 1.{nines}}}",
        "log: {{level: {long}}}",
    ],
)
def test_a_line_is_never_endless(text: str) -> None:
    """However long a word of the file is, its problem is short."""
    problems = _problems(HEAD + text.format(long="x" * 1000, nines="9" * 1000))
    assert all(len(problem) < 400 for problem in problems), problems


def test_all_sections_are_checked_although_one_is_wrong() -> None:
    """Mistakes in the text, in the core's sections and in several plugins' options are reported together, in order."""
    problems = _problems(
        HEAD + "log: {level: loud}\nhost: {sysfs: &x /sys}\nplugins:\n  a: {enabled: maybe}\n  b: {rpcSlots: x}\n"
    )
    assert [problem.split(": ")[:2] for problem in problems] == [
        ["config.yaml:3:14", "log.level"],
        ["config.yaml:4:15", "host.sysfs"],
        ["config.yaml:6:16", "plugins.a.enabled"],
        ["config.yaml:7:17", "plugins.b.rpcSlots"],
    ]


def test_all_mistakes_of_a_section_are_told() -> None:
    """In the order of the file, each with its line, column and key."""
    text = (
        "plugins:\n"
        "  sample:\n"
        "    resources:\n"
        "    - {name: 5}\n"
        "    - {name: a, replicas: 0, replicsa: 1}\n"
        "    lookIntervall: 5\n"
        "  plain: {key: 1}\n"
    )
    assert _plugin_problems(text, "sample", Sample) == (
        'config.yaml:6:14: plugins.sample.resources[0].name: Expected str, got int: write "5" in quotes',
        "config.yaml:7:27: plugins.sample.resources[1].replicas: Expected int >= 1",
        "config.yaml:7:30: plugins.sample.resources[1].replicsa: unknown key; did you mean replicas?",
        "config.yaml:8:5: plugins.sample.lookIntervall: unknown key; did you mean lookInterval?",
    )
    assert _plugin_problems(text, "plain", None) == (
        "config.yaml:9:11: plugins.plain.key: unknown key: the plugin plain has no keys of its own",
    )


def test_unknown_keys_are_mistakes_even_where_an_author_forgot_to_say_so() -> None:
    """A section is strict whatever its type says."""
    assert _plugin_problems("plugins: {lenient: {oone: 1}}", "lenient", Lenient) == (
        "config.yaml:3:21: plugins.lenient.oone: unknown key; did you mean one?",
    )


def test_a_missing_key_of_an_absent_section_names_the_file_alone() -> None:
    """There is no line to point at."""
    with pytest.raises(ConfigError) as caught:
        defaults("/etc/x.yaml").decode_plugin("rule", Rule)
    assert caught.value.problems == ("/etc/x.yaml: plugins.rule: the key name is missing",)


def _types_that_cannot_be_sections() -> list[tuple[Any, str]]:
    class Taken(Struct):
        enabled: str = ""

    class Array(Struct, array_like=True):
        a: int

    class Impossible(Struct):
        a: dict[int, object] | list[int] | set[int]

    return [
        (Taken, "belong to the core: enabled"),
        (Array, "must be a msgspec.Struct"),
        (int, "must be a msgspec.Struct"),
        (Impossible, "cannot be decoded"),
    ]


@pytest.mark.parametrize(("type_", "reason"), _types_that_cannot_be_sections())
def test_a_type_that_cannot_be_a_section_is_the_authors_to_mend(type_: Any, reason: str) -> None:
    """It is no mistake of whoever wrote the file."""
    with pytest.raises(PluginRefused, match=reason):
        defaults().decode_plugin("x", type_)


def test_a_problem_found_later_is_placed_too() -> None:
    """Others can point at a section or key, and at the nearest thing where that is absent."""
    document = parse((HEAD + "plugins:\n  absent: {}\n").encode(), "f")
    assert document.problem("no such plugin", "plugins", "absent") == "f:4:3: plugins.absent: no such plugin"
    assert document.problem("odd", "plugins", "absent", "deep") == "f:4:3: plugins.absent: odd"


def test_a_section_of_nobody_names_its_cure() -> None:
    """What is nearest, else what to do; one that is switched off asks nothing of anybody."""
    document = parse((HEAD + "plugins: {gizmo: {}, wigdets: {}, widgets: {}, other: {enabled: false}}").encode())
    assert document.strangers(["widgets"]) == {
        "gizmo": "config.yaml:3:11: plugins.gizmo: no installed plugin package has this name: install one that has, switch the "
        "section off (enabled: false) or remove it",
        "wigdets": "config.yaml:3:22: plugins.wigdets: no installed plugin package has this name; did you mean widgets?",
    }


def test_an_absent_file_is_an_error_only_if_it_was_asked_for(tmp_path: Path) -> None:
    """The default file may be absent; a named one may not."""
    path = tmp_path / "config.yaml"
    with pytest.raises(ConfigError, match=r"config.yaml: does not exist: create it"):
        load(path)
    document = load(path, required=False)
    assert document.data is None
    assert document.config == DEFAULTS


def test_a_directory_is_refused(tmp_path: Path) -> None:
    """The ConfigMap's directory is not its file."""
    with pytest.raises(ConfigError, match=r"is a directory: name the YAML file itself"):
        load(tmp_path)


def test_a_named_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    """Opening one would wait for a writer."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match=r"is not a regular file"):
        load(tmp_path / "pipe")


def test_a_device_is_refused() -> None:
    """/dev/zero never ends."""
    with pytest.raises(ConfigError, match=r"is not a regular file"):
        load("/dev/zero")


@pytest.mark.parametrize("name", ["a\0b", "a" * 5000])
def test_an_impossible_name_is_refused(name: str) -> None:
    """What the system cannot open is a mistake of the caller's, told like any other."""
    with pytest.raises(ConfigError, match=r"cannot be read"):
        load(name)


def test_a_file_that_is_too_long_is_refused_unread(tmp_path: Path) -> None:
    """Ten megabytes of mistakes give one line, about the size."""
    path = tmp_path / "config.yaml"
    path.write_bytes(b"a: *x\n" * (10_000_000 // 6))
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert caught.value.problems == (f"{path}: is longer than {LARGEST} bytes (1 MiB): no configuration needs that",)


def test_the_longest_file_is_read(tmp_path: Path) -> None:
    """The bound itself is within."""
    path = tmp_path / "config.yaml"
    path.write_bytes(HEAD.encode().ljust(LARGEST - 1) + b"\n")
    document = load(path)
    assert document.config == DEFAULTS
    assert document.path == str(path)


_PLACE = re.compile(r"config\.yaml:([0-9]+):([0-9]+): .+", re.DOTALL)


def _parse(data: bytes) -> Document | None:
    """The document, or ``None`` after checking that every problem lies in the text."""
    problems: tuple[str, ...] = ()
    try:
        document = parse(data)
    except ConfigError as error:
        document, problems = None, error.problems
    assert (document is None) == bool(problems)
    lines = re.split("\r\n|[\r\n\x85\u2028\u2029]", data.decode("utf-8-sig", "replace"))
    for problem in problems:
        found = _PLACE.fullmatch(problem)
        assert found, problem
        line, column = int(found[1]), int(found[2])
        assert 1 <= line <= len(lines)
        assert 1 <= column <= len(lines[line - 1]) + 1
    return document


@given(st.binary(max_size=300))
def test_random_bytes_are_refused_politely(data: bytes) -> None:
    """Nothing but ConfigError, with places inside the text."""
    assert _parse(data) is None


_KEYS = st.sampled_from(
    ["apiVersion", "kind", "kubelet", "http", "host", "log", "ledger", "plugins", "listen", "level", "sysfs", "enabled", "x"]
)
_VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from([API_VERSION, KIND, "info", "/", "é"])
_TREES = st.recursive(
    _VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=5), max_leaves=20
)


@given(st.dictionaries(_KEYS, _TREES, max_size=6), st.booleans())
def test_random_trees_are_refused_politely(tree: dict[str, Any], whole: bool) -> None:
    """Well-formed YAML with any content gives a configuration or placed problems."""
    if whole:
        tree |= {"apiVersion": API_VERSION, "kind": KIND}
    document = _parse(yaml.safe_dump(tree, allow_unicode=True).encode())
    assert document is None or document.config.kind == KIND


_PATHS = st.text("abc/. ", max_size=8).map("/{}".format)
_SECONDS = st.floats(0.01, 5)
_OPTIONS = st.builds(
    PluginOptions,
    enabled=st.booleans(),
    isolation=st.sampled_from(["thread", "process"]),
    look_interval=_SECONDS,
    allocate_timeout=_SECONDS,
    rpc_slots=st.integers(1, 64),
    memory_limit=st.integers(1 << 20, 1 << 40) | st.just("3Gi"),
)
_OWN = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3),
    st.integers(-(2**63), 2**63 - 1) | st.lists(st.text("xyz 1"), max_size=2),
    max_size=3,
)
PROTECTED = HttpConfig(":1", TlsConfig("/cert", "/key"), AuthConfig("/tokens"))
_CONFIGS = st.builds(
    SupervisorConfig,
    api_version=st.just(API_VERSION),
    kind=st.just(KIND),
    kubelet=st.builds(KubeletConfig, _PATHS, _PATHS),
    http=st.sampled_from([HttpConfig(), HttpConfig(":1"), HttpConfig("[::1]:2"), PROTECTED]),
    host=st.builds(HostConfig, _PATHS, _PATHS, _PATHS, _PATHS),
    log=st.builds(LogConfig, st.sampled_from(["debug", "error"]), st.sampled_from(["auto", "json"])),
    ledger=st.builds(LedgerConfig, st.floats(0, 1e6)),
    plugins=st.dictionaries(st.text("abc-", min_size=1, max_size=5), st.builds(PluginSection, _OPTIONS, _OWN), max_size=3),
)


@given(_CONFIGS)
def test_a_valid_configuration_survives_the_file(config: SupervisorConfig) -> None:
    """What is written out as YAML is read back as the same values."""
    built = msgspec.to_builtins(config)
    built["plugins"] = {name: {**section["options"], **section["own"]} for name, section in built["plugins"].items()}

    class Quoting(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:
            return True

    # Quoted throughout: the writer knows YAML 1.1, where strings like 1e3 need no quotes.
    text = yaml.dump(built, Dumper=Quoting, default_style='"', width=1 << 20)
    assert parse(text.encode()).config == config

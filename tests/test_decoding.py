"""Nodes become typed values; every mistake is found, placed and explained."""

import enum
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from supervisor.decoding import MOST_PROBLEMS, decode
from supervisor.yamltext import read


class _Strict(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    pass


class _Color(enum.StrEnum):
    RED = "red"
    GREEN = "green"


class _Usb(_Strict, frozen=True, tag="usb", tag_field="kind"):
    vendor: str


class _Glob(_Strict, frozen=True, tag="glob", tag_field="kind"):
    pattern: str


class _Rule(_Strict, frozen=True):
    name: Annotated[str, Meta(pattern="^[a-z]+$", description="lower-case letters")]
    replicas: Annotated[int, Meta(ge=1)] = 1
    read_only: bool = False
    envs: Mapping[str, Annotated[str, Meta(max_length=3)]] = {}
    mode: Literal["rw", "ro"] = "rw"
    color: _Color = _Color.RED
    match: Annotated[tuple[_Usb | _Glob, ...], Meta(max_length=3)] = ()
    pair: tuple[int, str] = (1, "a")


class _Section(_Strict, frozen=True):
    rules: Annotated[tuple[_Rule, ...], Meta(min_length=1)]
    by_name: Mapping[Annotated[str, Meta(pattern="^[a-z]+$")], _Rule] = {}
    speed: float | None = None

    def __post_init__(self) -> None:
        names = [rule.name for rule in self.rules]
        twice = [number for number, name in enumerate(names) if name in names[:number]]
        if twice:
            raise ValueError("\n".join(f"rules[{number}].name: is there twice" for number in twice))
        if self.speed == 7:
            raise ValueError("7 is too odd")


def _decode(text: str, *other_keys: str) -> tuple[Any, list[str]]:
    root, problems = read(text.encode())
    assert root is not None
    assert problems == []
    value, found = decode(root, _Section, other_keys)
    return value, [f"{at.line}:{at.column}: {path}: {what}" if at else what for at, path, what in sorted(found, key=str)]


def test_a_good_text_becomes_a_value() -> None:
    """Nothing is lost on the way."""
    value, problems = _decode("rules: [{name: a, readOnly: true, match: [{kind: usb, vendor: 1d6b}]}]\nspeed: 3")
    assert problems == []
    assert value == _Section(rules=(_Rule("a", read_only=True, match=(_Usb("1d6b"),)),), speed=3.0)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{}", "1:1: : the key rules is missing"),
        ("[]", "1:1: : Expected mapping, got list"),
        ("rules: []", "1:8: rules: Expected list of length >= 1"),
        ("rules: [{name: a}]\nspede: 1", "2:1: spede: unknown key; did you mean speed?"),
        ("rules: [{name: a}]\nlookIntervall: 1", "2:1: lookIntervall: unknown key; did you mean lookInterval?"),
        ("rules: [{name: a}]\nzzz: 1", "2:1: zzz: unknown key"),
        ("rules: [{name: a, replicsa: 1}]", "1:19: rules[0].replicsa: unknown key; did you mean replicas?"),
        ("rules: [{name: a}, {}]", "1:20: rules[1]: the key name is missing"),
        ("rules: [{name: a, replicas: 0}]", "1:29: rules[0].replicas: Expected int >= 1"),
        ("rules: [{name: a, replicas: 1.5}]", "1:29: rules[0].replicas: Expected int, got float"),
        ("rules: [{name: 5}]", '1:16: rules[0].name: Expected str, got int: write "5" in quotes'),
        ("rules: [{name: true}]", '1:16: rules[0].name: Expected str, got bool: write "true" in quotes'),
        ("rules: [{name: }]", "1:16: rules[0].name: Expected str, got null"),
        ("rules: [{name: A-1}]", "1:16: rules[0].name: Expected lower-case letters, got 'A-1'"),
        ("rules: [{name: a, readOnly: yes}]", "1:29: rules[0].readOnly: Expected bool, got str: write true or false"),
        ("rules: [{name: a, mode: r}]", "1:25: rules[0].mode: Expected one of ro, rw, got 'r'; did you mean rw?"),
        ("rules: [{name: a, color: gren}]", "1:26: rules[0].color: Expected one of red, green, got 'gren'; did you mean green?"),
        ("rules: [{name: a, envs: {b: abcd}}]", "1:29: rules[0].envs.b: Expected str of length <= 3"),
        ("rules: [{name: a, envs: {b: 1}}]", '1:29: rules[0].envs.b: Expected str, got int: write "1" in quotes'),
        ("rules: [{name: a, pair: [1, 2]}]", '1:29: rules[0].pair[1]: Expected str, got int: write "2" in quotes'),
        ("rules: [{name: a, match: [{kind: usb, vender: x}]}]", "1:39: rules[0].match[0].vender: unknown key; did you mean vendor?"),
        ("rules: [{name: a}]\nbyName: {a: {name: b}, B: {name: c}}", "2:24: byName.B: as a key: Expected str matching regex '^[a-z]+$'"),
        ("rules: [{name: a}]\nbyName: {a: {name: b}, c: {name: D}}", "2:34: byName.c.name: Expected lower-case letters, got 'D'"),
        ("rules: [{name: a}, {name: b}, {name: a}]", "1:38: rules[2].name: is there twice"),
        ("rules: [{name: a}]\nspeed: 7", "1:1: : 7 is too odd"),
        ("rules: [{name: a}]\nspeed: x", "2:8: speed: Expected float or null, got str"),
    ],
)  # fmt: skip
def test_a_mistake_is_placed_and_explained(text: str, problem: str) -> None:
    """Each kind of mistake gives exactly one problem with line, column, key and cure."""
    value, problems = _decode(text, "lookInterval")
    if "vender" in text:
        problems = [found for found in problems if "missing" not in found]
    assert problems == [problem]
    assert value is None


def test_all_mistakes_are_found_and_nothing_is_invented() -> None:
    """What is only wrong because a neighbour was is not reported."""
    _, problems = _decode(
        "rules:\n"
        "- {name: A, replicas: 0}\n"
        "- {naem: b}\n"
        "- 7\n"
        "byName: {x: 1, y: {name: b, envs: {c: 1, d: 2, e: x, f: 3}}, z: {name: b, zz: 1}}\n"
        "speed: x\n"
    )
    assert sorted(problem.split(": ")[0] + " " + problem.split(": ")[1] for problem in problems) == [
        "2:10 rules[0].name",
        "2:23 rules[0].replicas",
        "3:3 rules[1]",
        "3:4 rules[1].naem",
        "4:3 rules[2]",
        "5:13 byName.x",
        "5:39 byName.y.envs.c",
        "5:45 byName.y.envs.d",
        "5:57 byName.y.envs.f",
        "5:75 byName.z.zz",
        "6:8 speed",
    ]


class _Match(_Strict, frozen=True):
    kind: tuple[Literal["usb", "glob"], ...] = ()
    inner: tuple["_Match", ...] = ()

    def __post_init__(self) -> None:
        if not self.kind and not self.inner:
            raise ValueError("give at least one field")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("kind: [usb, pci]", "1:13: kind[1]: Expected one of glob, usb, got 'pci'"),
        ("kind: [pci]", "1:8: kind[0]: Expected one of glob, usb, got 'pci'"),
        ("inner: [{inner: [{kind: [pci]}]}]", "1:26: inner[0].inner[0].kind[0]: Expected one of glob, usb, got 'pci'"),
        ("kind: [usb]\ninner: [{kind: []}]", "2:9: inner[0]: give at least one field"),
    ],
)
def test_nothing_is_called_empty_that_was_not(text: str, problem: str) -> None:
    """A struct that wants one of its fields does not complain when all that was in them is wrong."""
    root, _ = read(text.encode())
    assert root is not None
    assert [f"{at.line}:{at.column}: {path}: {what}" for at, path, what in decode(root, _Match)[1] if at] == [problem]


_WORDS = st.text("abcdefg", min_size=1, max_size=2)


@given(st.dictionaries(_WORDS, st.dictionaries(_WORDS, st.just("ok") | st.integers(0, 3), max_size=5), max_size=5))
def test_the_same_mistake_in_many_mappings_is_found_in_each(envs: dict[str, dict[str, str | int]]) -> None:
    """What is right is never accused of another entry's mistake, however the mappings are nested."""
    tree = {"rules": [{"name": "a"}], "byName": {name: {"name": name, "envs": values} for name, values in envs.items()}}
    root, _ = read(json.dumps(tree).encode())
    assert root is not None
    wrong = [f"byName.{name}.envs.{key}" for name, values in envs.items() for key, value in values.items() if value != "ok"]
    assert [path for _, path, _ in decode(root, _Section)[1]] == wrong


def test_a_long_report_ends() -> None:
    """Thousands of mistakes give the first ones and say that there are more."""
    _, problems = _decode("rules: [" + "{name: 1}, " * 5000 + "]")
    assert len(problems) == MOST_PROBLEMS + 1
    assert f"more problems follow after these {MOST_PROBLEMS}" in problems


def test_the_tree_stays_whole() -> None:
    """A failed decoding leaves the tree as it was, for the next one."""
    root, _ = read(b"rules: [{name: 5}]")
    assert root is not None
    first, second = decode(root, _Section), decode(root, _Section)
    assert first == second
    assert root.value == {"rules": [{"name": 5}]}


@pytest.mark.parametrize("text", ["x - at `$.rules[0]`", "`key` in `$.rules`", "a\nb", "$", "...", "[0]", "'"])
def test_values_cannot_mislead_the_search(text: str) -> None:
    """A value that looks like msgspec's own words is placed like any other."""
    root, _ = read(b"rules: [{name: a}]")
    assert root is not None
    root.value["rules"][0]["mode"] = text
    root.children["rules"].children[0].children["mode"] = type(root)(root.at, "rules[0].mode", text)
    _, problems = decode(root, _Section)
    assert [path for _, path, _ in problems] == ["rules[0].mode"]


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["a", "b", "B", "usb", "glob", "red", "rw", "long"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["rules", "byName", "speed", "name", "replicas", "envs", "mode", "match", "kind", "vendor", "pair"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(st.dictionaries(st.sampled_from(["rules", "byName", "speed", "x"]), _ANY, max_size=4))
def test_whatever_is_wrong_there_is_a_report(tree: dict[str, Any]) -> None:
    """For any tree the answer is a value, or problems that lie in it and differ from each other."""
    root, _ = read(json.dumps(tree).encode())
    assert root is not None
    value, problems = decode(root, _Section)
    assert isinstance(value, _Section) == (not problems)
    assert len(set(problems)) == len(problems)
    assert all(at is not None and at.line == 1 for at, _, _ in problems)

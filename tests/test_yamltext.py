"""YAML texts become nodes with their places; what a configuration must not hold is refused there."""

import re
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from supervisor.yamltext import DEEPEST, Node, Position, read, write


def _value(text: str) -> Any:
    root, problems = read(text.encode())
    assert problems == []
    assert root is not None
    return root.value


def _problems(text: str | bytes) -> list[str]:
    data = text.encode() if isinstance(text, str) else text
    return [f"{at.line}:{at.column}: {path}: {what}" for at, path, what in read(data)[1] if at is not None]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("~", None),
        ("null", None),
        ("true", True),
        ("FALSE", False),
        ("0", 0),
        ("-17", -17),
        ("0o17", 15),
        ("0x1F", 31),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("no", "no"),
        ("on", "on"),
        ("12:30:45", "12:30:45"),
        ("1_000", "1_000"),
        ("2001-12-14", "2001-12-14"),
        ("1.2.3", "1.2.3"),
        ("'5'", "5"),
        ('"\\u00e9"', "é"),
        ("|\n  a\n  b\n", "a\nb\n"),
        ("!!str 5", "5"),
        ("!!int 5", 5),
        ("! 5", "5"),
        ("[]", []),
        ("!!map {}", {}),
        ("{a: [1, {b: c}], d: }", {"a": [1, {"b": "c"}], "d": None}),
        ("%YAML 1.1\n---\na: 1\n...\n", {"a": 1}),
        ("\ufeffa: 1", {"a": 1}),
        ("yes: 1", {"yes": 1}),
        (f"{2**63 - 1}", 2**63 - 1),
        (f"-{2**63}", -(2**63)),
    ],
)
def test_scalars_mean_what_yaml_1_2_says(text: str, value: object) -> None:
    """The core schema holds, not the surprises of YAML 1.1."""
    found = _value(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3", "3:1: a: duplicate key, first in line 1"),
        ("a: &x 1", "1:4: a: anchors (&x) are not allowed: write the value out where it is needed"),
        ("a: *x", "1:4: a: aliases (*x) are not allowed: write the value out"),
        ("a: {<<: 1}", "1:5: a: merge keys (<<) are not allowed: write the keys out"),
        ("a: !!python/name:os.system x", "1:4: a: the tag tag:yaml.org,2002:python/name:os.system is not allowed"),
        ("a: !own [1]", "1:4: a: the tag !own is not allowed"),
        ("a: !!int x", "1:4: a: the tag tag:yaml.org,2002:int is not allowed"),
        ("a: !!seq {}", "1:4: a: the tag tag:yaml.org,2002:seq is not allowed"),
        ("1: a", '1:1: : a key must be a string: write "1"'),
        ("true: a", '1:1: : a key must be a string: write "true"'),
        ("? [b]\n: a", "1:3: : a key must be a string: write a word"),
        ("a: .inf", "1:4: a: .inf is not a finite number"),
        ("a: -.INF", "1:4: a: -.INF is not a finite number"),
        ("a: .nan", "1:4: a: .nan is not a finite number"),
        ("a: 1e999", "1:4: a: the number is too large"),
        ("a: " + "9" * 100_000, "1:4: a: the number does not fit into 64 bits"),
        (f"a: {2**63}", "1:4: a: the number does not fit into 64 bits"),
        ("a: 0660", '1:4: a: a number must not begin with 0: write "0660" in quotes, or 0o… for an octal one'),
        ("a: 1\n--- b", "2:1: : a second document starts here: one file holds one"),
        ("a: [1, 2\n", "1:9: : is not YAML: did not find expected ',' or ']' while parsing a flow sequence"),
        ("a: 'x", "1:6: : is not YAML: found unexpected end of stream while scanning a quoted scalar"),
        ("a:\n\t- b", "2:1: : is not YAML: found character that cannot start any token while scanning for the next token"),
        ("ab: \x00", "1:5: : holds the character U+0000: is it a binary file?"),
        ("ab\ncd\x1b[1m", "2:3: : holds the character U+001B: is it a binary file?"),
        (b"a: b\nc: \xff\xfe", "2:4: : is not UTF-8 text (byte 0xff): is it a binary file?"),
        ("a: b".encode("utf-16"), "1:1: : is not UTF-8 text (byte 0xff): is it a binary file?"),
    ],
)
def test_what_is_refused_says_where_and_why(text: str | bytes, problem: str) -> None:
    """Each refusal has its line, column, key and reason."""
    assert _problems(text) == [problem]


def test_all_refusals_are_found_at_once() -> None:
    """One mistake does not hide the next."""
    assert [problem.split(": ")[0] for problem in _problems("a: *x\nb: &y 1\n2: c\nb: 3\nd: 1e999")] == [
        "1:4",
        "2:4",
        "3:1",
        "4:1",
        "5:4",
    ]


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n...\n", "   \n"])
def test_a_text_without_content_has_no_value(text: str) -> None:
    """Nothing is wrong with it here; the reader of the tree decides."""
    root, problems = read(text.encode())
    assert problems == []
    assert root is None or root.value is None


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_depth_is_bounded(opening: str) -> None:
    """A text nested as deep as a file may be is refused without recursing into it."""
    problems = _problems(opening * ((1 << 20) // len(opening)))
    assert len(problems) == 1
    assert f"is nested more than {DEEPEST} deep" in problems[0]


def test_the_deepest_allowed_is_read() -> None:
    """The bound itself is within."""
    assert _value("[" * DEEPEST + "]" * DEEPEST) != []


def test_every_node_knows_its_place_and_name() -> None:
    """Values and keys have places of their own, names read like the text."""
    root, _ = read(b"plugins:\n  generic:\n    list: [5, {'a b': x}]\n")
    assert root is not None
    listed = root.children["plugins"].children["generic"].children["list"]
    inner = listed.children[1].children["a b"]
    assert (listed.key_at, listed.at) == (Position(3, 5), Position(3, 11))
    assert (inner.path, inner.key_at, inner.at) == (
        "plugins.generic.list[1]['a b']",
        Position(3, 16),
        Position(3, 23),
    )


def test_a_copy_can_be_changed_alone() -> None:
    """Taking a copy apart leaves the tree as it was."""
    root, _ = read(b"a: [1, 2]\nb: 3")
    assert root is not None
    twin = root.copy()
    del twin.children["a"].children[0]
    twin.children["a"].value.clear()
    assert root.value == {"a": [1, 2], "b": 3}
    assert root.without("a").value == {"b": 3}
    assert set(root.children) == {"a", "b"}


_TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Co", "Cn"], exclude_characters="\ufeff"), max_size=20
).filter(lambda text: not re.match(r"[-+.]*[0-9]", text))  # the writer knows YAML 1.1, where 1e3 and 089 are no numbers
_SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | _TEXTS
)
_KEYS = _TEXTS.filter(lambda text: len(text.encode()) < 60)
_TREES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=4), max_leaves=20
)


@given(_TREES, st.booleans())
def test_what_a_yaml_writer_writes_is_read_back(tree: object, flow: bool) -> None:
    """Values survive the way through PyYAML's writer, whatever its style."""

    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:
            return True

    text = yaml.dump(tree, Dumper=Plain, allow_unicode=True, default_flow_style=flow, width=1 << 20)
    assert _value(text) == tree


def _nodes(node: Node) -> list[Node]:
    return [node, *(found for child in node.children.values() for found in _nodes(child))]


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_no_input_raises_and_every_place_is_inside(data: bytes) -> None:
    """Whatever the bytes are, the answer is a tree or problems, placed inside the text."""
    root, problems = read(data)
    lines = data.decode("utf-8-sig", "replace").replace("\r\n", "\n")
    for end in "\r\x85\u2028\u2029":
        lines = lines.replace(end, "\n")
    widths = [len(line) for line in lines.split("\n")]
    for at, _, text in problems:
        assert text
        assert at is not None
        assert 1 <= at.line <= len(widths)
        assert 1 <= at.column <= widths[at.line - 1] + 1
    for node in _nodes(root) if root is not None else []:
        assert node.at is not None
        assert 1 <= node.at.line <= len(widths)


_YAMLISH = st.lists(
    st.sampled_from([*"[]{}:,-?&*!|>'\"%@`# \n\t~", "a", "b: ", "- ", "? ", "<<", "!!int ", "&x ", "*x", "---\n", "9", "0x"]),
    max_size=40,
).map("".join)


@given(_YAMLISH)
def test_no_yaml_like_text_raises(text: str) -> None:
    """Texts full of YAML's special characters give a tree or a problem; none is silently nothing."""
    root, problems = read(text.encode())
    if root is None and not problems:
        assert yaml.safe_load(text) is None


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.sampled_from(["12e4", "0o17", "0x1f", "no", "017", "1_0", ".5", ".inf", "<<", "=", "~", "15b3", "- a", "a: b", " a ", "#"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("aB1 :#", min_size=1, max_size=5), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(_PLAIN)
@example("\x85")
@example(["\u2028 ", "a\r\nb", "a\n\n"])
def test_what_is_written_is_read_as_the_same(value: Any) -> None:
    """Words that look like numbers, numbers, control characters, lists in lists."""
    root, problems = read(write(value).encode())
    assert problems == []
    assert root is not None
    assert root.value == value
    assert repr(root.value) == repr(value)  # True is no 1


def test_written_text_is_as_people_write_it() -> None:
    """Lists of words in one line, others below their key, in the order given."""
    value = {"name": "a/b", "match": [{"vendor": ["15b3", "1e10"], "rate": 1.5}], "none": []}
    text = 'name: a/b\nmatch:\n  - vendor: [15b3, "1e10"]\n    rate: 1.5\nnone: []\n'
    assert write(value) == text

"""Names of resources, made of templates and of what a function tells of itself.

A name is checked before anybody registers it, and it is never cut: what is too long, odd or not known leaves that function without a
name, with the reason. Characters that no name may have become ``_`` (in the domain ``-``), as in an older shell's ``xilinx:u200:xdma``.
"""

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from supervisor import resource_name_problem
from supervisor_fpga.report import Function

_FIELD = re.compile(r"\{([^{}]*)\}")
_ID = re.compile(r"[0-9a-f]{32}")
_ZEROS, _ONES = "0" * 32, "f" * 32
_LONGEST = 63
"""Characters behind the slash."""
_SHOWN = 80
"""Characters of what hardware says in a sentence."""


class Name(Struct, frozen=True):
    """What a template makes of functions: a text, or why there is none."""

    text: str = ""
    problem: str = ""
    certain: bool = True
    """Whether the problem is more than a fact that is missing and may be there again later."""


def bare_id(text: str) -> str:
    """An interface or function id, or a pattern of one, as the kernel writes it: lower case, without dashes."""
    return text.lower().replace("-", "")


def known_id(text: str) -> str:
    """An id that means something, in 32 digits; empty for zeros, for the ones of a card that does not answer, and for what is none."""
    return "" if id_problem(text) else bare_id(text)


def id_problem(text: str) -> str:
    """Why an id means nothing, as the end of a sentence; empty: it is one."""
    bare = bare_id(text)
    if not bare:
        return "is not known"
    if not _ID.fullmatch(bare):
        return f"is {_shown(text)}, which is no id of 32 hexadecimal digits"
    return {_ZEROS: "is all zeros", _ONES: "is all ones, as of a card that does not answer"}.get(bare, "")


def intel_af(interface_id: str, afu_id: str) -> str:
    """What Intel's plugin puts behind ``af-``: enough for people, then both ids in 43 characters, as 64 digits are too many for a name."""
    both = base64.urlsafe_b64encode(bytes.fromhex(interface_id + afu_id)).decode().rstrip("=")
    return f"{interface_id[:3]}.{afu_id[:3]}.{both}"


# --- templates --------------------------------------------------------------------------------------------------------------


def fields_of(template: str) -> frozenset[str]:
    """The names in braces."""
    return frozenset(_FIELD.findall(template))


def template_problem(template: str) -> str:
    """Why no function could ever have a name by this template, in a sentence; empty: some could."""
    if unknown := sorted(fields_of(template) - FIELDS.keys()):
        return f"{{{unknown[0]}}} is no field; there are {', '.join(f'{{{name}}}' for name in FIELDS)}"
    shortest = _FIELD.sub("a", template)
    if "{" in shortest or "}" in shortest:
        return "a brace is part of a field, like {shell}"
    return resource_name_problem(shortest) or ""


def resource_name(template: str, functions: Iterable[Function]) -> Name:
    """The one name of all these functions."""
    names = list(dict.fromkeys(_name(template, function) for function in functions))
    broken = next((name for name in names if name.problem), None)
    if broken is not None or len(names) == 1:
        return broken or names[0]
    return Name(problem=f"its functions would have different names: {', '.join(name.text for name in names)}")


def may_be_name(name: str, template: str, functions: Iterable[Function]) -> bool:
    """Whether these functions could have this name, if what is not known of them were known."""
    return all(re.fullmatch("".join(_patterns(template, function)), name) for function in functions)


def _name(template: str, function: Function) -> Name:
    pieces = list(_pieces(template, function))
    if problem := next((piece.problem for piece in pieces if piece.problem), ""):
        return Name(problem=problem, certain=False)
    text = "".join(piece.text for piece in pieces)
    if len(text.partition("/")[2]) > _LONGEST:
        return Name(problem=f"{_shown(text)} has more than {_LONGEST} characters after the slash")
    refused = resource_name_problem(text)
    return Name(problem=f"{_shown(text)} is no resource name: {refused}") if refused else Name(text)


def _patterns(template: str, function: Function) -> Iterator[str]:
    for piece in _pieces(template, function):
        yield piece.could_be if piece.problem else re.escape(piece.text)


class _Piece(Struct, frozen=True):
    """A part of a name: fixed, or the value of a field, or why it has none."""

    text: str
    problem: str = ""
    could_be: str = "[^/]+"
    """Where it has no value: a pattern of those that it could have."""


def _pieces(template: str, function: Function) -> Iterator[_Piece]:
    at, slash = 0, template.find("/")
    for field in _FIELD.finditer(template):
        yield _Piece(template[at : field.start()])
        value = FIELDS[field[1]](function)
        yield _in_domain(value) if field.start() < slash else value
        at = field.end()
    yield _Piece(template[at:])


def _in_domain(piece: _Piece) -> _Piece:
    return replace(piece, text=re.sub(r"[._]", "-", piece.text.lower()))


# --- fields -----------------------------------------------------------------------------------------------------------------


def _text(word: str, of: Callable[[Function], str], function: Function) -> _Piece:
    raw = of(function)
    if not raw:
        return _Piece("", f"its {word} is not known")
    plain = re.sub(r"[^-_.A-Za-z0-9]", "_", raw).strip("-_.")
    return _Piece(plain) if plain else _Piece("", f"its {word} {_shown(raw)} has nothing that a name may have")


def _id(word: str, of: Callable[[Function], str], function: Function) -> _Piece:
    raw = of(function)
    problem = id_problem(raw)
    return _Piece("", f"its {word} {problem}", "[0-9a-f]{32}") if problem else _Piece(bare_id(raw))


def _intel_af(function: Function) -> _Piece:
    both = _interface_id(function), _afu_id(function)
    problem = next((piece.problem for piece in both if piece.problem), "")
    pattern = r"[0-9a-f]{3}\.[0-9a-f]{3}\.[-_A-Za-z0-9]{43}"
    return _Piece("", problem, pattern) if problem else _Piece(intel_af(*(piece.text for piece in both)))


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


_interface_id = partial(_id, "interface id", lambda function: function.interface_id)
_afu_id = partial(_id, "AFU id", lambda function: function.afu_id)

FIELDS: Mapping[str, Callable[[Function], _Piece]] = {
    "backend": partial(_text, "back end", lambda function: function.backend),
    "vendor": partial(_text, "vendor", lambda function: function.vendor),
    "device": partial(_text, "device", lambda function: function.device),
    "driver": partial(_text, "driver", lambda function: function.driver),
    "shell": partial(_text, "shell", lambda function: function.shell),
    "shell_id": partial(_id, "shell id", lambda function: function.shell_id),
    "timestamp": partial(_text, "timestamp", lambda function: function.timestamp),
    "interface_id": _interface_id,
    "afu_id": _afu_id,
    "intel_af": _intel_af,
}
"""What may stand in braces."""

CHANGING = frozenset({"afu_id", "intel_af"})
"""Fields that programming changes."""

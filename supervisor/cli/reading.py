"""Reading the status of a supervisor that may be newer than this program: new fields are passed over, new words stay as they are."""

import functools
import operator
import types
from enum import Enum
from typing import Any, Literal, Union, cast, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Struct, field
from msgspec.structs import FieldInfo

from supervisor.errors import SupervisorError
from supervisor.report import Report
from supervisor.status import printable


def read(document: bytes) -> Report:
    """The document, for people. A health, phase or the like that is unknown here is a plain string. Raises ``SupervisorError``."""
    try:
        report = cast("Report", _DECODER.decode(document))
        if report.kind != "Status":
            raise ValueError(f"it is of the kind {report.kind}")
    except (ValueError, RecursionError) as error:
        raise SupervisorError(printable(f"what came is no status of a supervisor: {error}; is the address right?")) from None
    return report


def _lenient(kind: Any) -> Any:
    """The type, with any string where it names some."""
    if isinstance(kind, type) and issubclass(kind, Struct):
        return _twin(kind)
    origin: Any = get_origin(kind)
    if origin is Literal or (isinstance(kind, type) and issubclass(kind, Enum)):
        return str
    parts = tuple(part if part is ... else _lenient(part) for part in get_args(kind))
    if origin in {Union, types.UnionType}:
        return functools.reduce(operator.or_, parts)
    return origin[parts] if origin is tuple else kind


def _twin(struct: type[Struct]) -> type[Struct]:
    fields = [
        (each.name, _lenient(each.type), field(name=each.encode_name, **_default(each)))
        for each in msgspec.structs.fields(struct)
    ]
    return msgspec.defstruct(struct.__name__, fields, frozen=True)


def _default(known: FieldInfo) -> dict[str, Any]:
    return {} if known.default is NODEFAULT else {"default": known.default}


_DECODER = msgspec.json.Decoder(_lenient(Report))

"""Files of other plugins, and what is made of them."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from supervisor import SourceRefused, Translation
from supervisor_infiniband.config import InfinibandConfig

Translate = Callable[[object], Translation]


def config_of(translation: Translation) -> InfinibandConfig:
    """The section as the plugin gets it."""
    return msgspec.convert(translation.section, InfinibandConfig)


def lost(translation: Translation) -> dict[str, str]:
    """What is lost, by place: ``resourceList[0].selectors``."""
    return _by_place([(each.at, each.text) for each in translation.lost])


def notes(translation: Translation) -> dict[str, str]:
    """What is otherwise, by place."""
    return _by_place([(each.at, each.text) for each in translation.notes])


def refused(translate: Translate, source: object) -> dict[str, str]:
    """What is wrong with a file that is refused, by place."""
    with pytest.raises(SourceRefused) as error:
        translate(source)
    return _by_place([(each.at, each.text) for each in error.value.problems])


def _by_place(remarks: Sequence[tuple[Sequence[Any], str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for at, text in remarks:
        place = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in at).lstrip(".")
        found[place] = f"{found[place]} {text}" if place in found else text
    return found

"""A package that answers nonsense: as a whole, or here and there among one good device."""

from collections.abc import Iterator
from itertools import count
from typing import Any, Literal

import msgspec

from supervisor import Device, Topology, hookimpl


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    answer: Literal["mixed", "nothing", "text", "endless"] = "mixed"


def endless() -> Iterator[Device]:
    return (Device(f"nonsense-{number}") for number in count())


def mixed() -> dict[object, object]:
    good = Device("nonsense-good")
    return {
        "nonsense.example/thing": [
            good,
            good,
            None,
            "nonsense-text",
            Device("with a space"),
            Device("x" * 64),
            Device("nonsense-numa", topology=Topology((-1,))),
            Device("nonsense-health", health="Fine"),  # type: ignore[arg-type]  # this is the nonsense
        ],
        "nonsense.example/none": None,
        "no-domain": [Device("nonsense-lost")],
        7: [],
    }


class Nonsense:
    name = "nonsense"
    udev_subsystems = ()

    def __init__(self, config: Config) -> None:
        self.config = config

    def discover(self) -> Any:
        match self.config.answer:
            case "mixed":
                return mixed()
            case "text":
                return "nonsense"
            case "endless":
                return {"nonsense.example/thing": endless()}
            case _:
                return None


@hookimpl
def config_type() -> type[Config]:
    return Config


@hookimpl
def device_plugins(config: Config) -> list[object]:
    return [Nonsense(config), Nonsense, None]

"""What a plugin object must look like: each rule with an object that breaks it."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

import supervisor
from supervisor import ContainerEdits, Device, Finding, Leftover, LookAgain, MetricFamily, NodeFacts
from supervisor.contract import CAPABILITIES, Method, capabilities, describe, problems


class Plain:
    name = "plain"
    udev_subsystems = ("usb",)

    def discover(self) -> Mapping[str, list[Device]]:
        return {}


class Able(Plain):
    async def watch(self, look_again: LookAgain) -> None: ...

    def allocate(self, resource: str, devices: Sequence[Device], edits: ContainerEdits) -> ContainerEdits:
        return edits

    def preferred_allocation(
        self, resource: str, available: Sequence[str], must_include: Sequence[str], size: int
    ) -> Sequence[str]:
        return available[:size]

    def pre_start_required(self, resource: str) -> bool:
        return True

    def pre_start(self, resource: str, devices: Sequence[Device]) -> None: ...

    def notices(self) -> Sequence[str]:
        return ()

    def explain(self, text: str) -> Sequence[str]:
        return ()

    def examine(self) -> Iterator[Finding]:
        yield Finding("ok", "widgets", "They are plugged.")

    def leftovers(self, held: Mapping[str, Collection[str]]) -> Iterator[Leftover]:
        yield Leftover("/run/widgets.json")

    def take_over(self) -> None: ...

    def learn_node(self, node: NodeFacts) -> None: ...

    def collect_metrics(self) -> Iterator[MetricFamily]:
        yield MetricFamily("widgets", "Widgets that were seen.")


async def _coroutine(*_: object) -> None: ...


async def _async_generator(*_: object) -> Any:
    yield


def _generator() -> Any:
    yield


def _fails(*_: object) -> Any:
    raise OSError("no such bus")


def _changed(**attributes: object) -> SimpleNamespace:
    return SimpleNamespace(**{"name": "plain", "udev_subsystems": (), "discover": dict} | attributes)


def test_a_good_plugin_has_no_problem() -> None:
    """The least plugin and the one with every capability both pass."""
    assert problems(Plain()) == problems(Able()) == ()


def test_every_optional_protocol_is_a_capability() -> None:
    """A protocol that a plugin may import is one that the supervisor looks for, with its own arguments."""
    protocols = {
        name
        for name, value in vars(supervisor).items()
        if name in supervisor.__all__ and getattr(value, "_is_runtime_protocol", False)
    }
    assert len(protocols) == len(CAPABILITIES)
    for name in protocols:
        assert isinstance(Able(), getattr(supervisor, name))
    assert CAPABILITIES["pre_start"]["pre_start"] == Method(("resource", "devices"))
    assert {name for name, methods in CAPABILITIES.items() if any(method.awaited for method in methods.values())} == {"watch"}


def test_capabilities_are_what_is_there() -> None:
    """Nothing is advertised that a plugin cannot do."""
    assert capabilities(Plain()) == frozenset()
    assert capabilities(Able()) == CAPABILITIES.keys()


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({"name": None}, "name must be a string, not NoneType"),
        ({"name": 7}, "name must be a string, not int"),
        ({"name": "Widgets"}, "name 'Widgets' must be 1 to 63 of [a-z0-9-]"),
        ({"name": "a" * 64}, "must be 1 to 63"),
        ({"name": "-a"}, "begin and end alphanumeric"),
        ({"udev_subsystems": "usb"}, "udev_subsystems must be a collection of strings, such as ('usb',), not str"),
        ({"udev_subsystems": None}, "must be a collection of strings, such as ('usb',), not NoneType"),
        ({"udev_subsystems": iter(["usb"])}, "must be a collection"),
        ({"udev_subsystems": ["usb", 3]}, "3 is none"),
        ({"udev_subsystems": ["/sys/bus/usb"]}, "'/sys/bus/usb' is none"),
        ({"discover": None}, "discover is missing: write def discover(self)"),
        ({"discover": {}}, "discover is dict, not a method"),
        ({"discover": _coroutine}, "discover is async, but runs in a worker thread"),
        ({"discover": _async_generator}, "discover is an async generator"),
        ({"discover": _generator}, "discover is a generator, but its answer must be complete"),
        ({"discover": lambda host: {}}, "discover(host) cannot be called with 0 arguments"),
        ({"watch": lambda look_again: None}, "watch is not async: write async def watch(self, look_again)"),
        ({"watch": _async_generator}, "watch is an async generator"),
        ({"allocate": _coroutine}, "allocate is async"),
        ({"allocate": lambda devices: None}, "allocate(devices) cannot be called with 3 arguments"),
        ({"preferred_allocation": lambda available, size: []}, "cannot be called with 4 arguments"),
        ({"pre_start": lambda resource, devices: None}, "pre_start_required is missing"),
        ({"pre_start_required": lambda resource: True}, "pre_start is missing"),
    ],
)
def test_a_broken_rule_is_named(attributes: dict[str, object], problem: str) -> None:
    """Each sentence says what was found and what to write."""
    (found,) = problems(_changed(**attributes))
    assert problem in found


def test_udev_subsystems_must_be_said() -> None:
    """A plugin without events of the kernel says so, it does not forget it."""
    plugin = _changed()
    del plugin.udev_subsystems
    assert "udev_subsystems is missing" in problems(plugin)[0]


def test_a_class_is_no_plugin() -> None:
    """Forgotten parentheses get the obvious advice."""
    assert problems(Plain) == ("device_plugins() returned the class Plain itself: return an instance, Plain()",)


def test_every_problem_is_told_at_once() -> None:
    """An author repairs a plugin in one go."""
    assert len(problems(object())) == 3


def test_an_attribute_that_raises_is_a_problem() -> None:
    """A property is plugin code, which may raise anything."""

    class Raising(Plain):
        @property
        def name(self) -> str:  # type: ignore[override]  # deliberately unlike its base
            return str(_fails())

    (found,) = problems(Raising())
    assert "OSError: no such bus" in found


def test_an_error_is_described_with_the_line_that_raised_it() -> None:
    """One line, however many the text has, and the place to look at."""
    with pytest.raises(OSError, match="no such bus") as caught:
        _fails()
    assert describe(caught.value).startswith("OSError: no such bus (")
    assert describe(caught.value).endswith('raise OSError("no such bus"))')
    assert describe(ValueError("two\n  lines")) == "ValueError: two lines"
    assert describe(KeyError()) == "KeyError"


def test_an_error_without_a_usable_text_is_described() -> None:
    """Even the text of an exception is plugin code."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert describe(Mute()) == "Mute: (its text cannot be shown)"

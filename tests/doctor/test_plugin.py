"""What a plugin makes of the node, told as findings."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from supervisor.doctor.plugin import MOST_TOLD, consult, offered
from supervisor.model import Device, Finding, Health
from tests.doctor.ground import assert_shown

WIDGET = "example.com/widget"


class Plugin:
    """The least; it says what a test wants."""

    name = "widgets"
    udev_subsystems = ()

    def __init__(self, found: Any) -> None:
        self.found = found

    def discover(self) -> Mapping[str, Sequence[Device]]:
        if isinstance(self.found, Exception):
            raise self.found
        devices: Mapping[str, Sequence[Device]] = self.found
        return devices


class Knowing(Plugin):
    """It examines, and says what lacks."""

    findings: Any = (Finding("ok", "module", "It is loaded."),)

    def notices(self) -> Sequence[str]:
        return ["waits for a widget", ""]

    def examine(self) -> Iterator[Finding]:
        if isinstance(self.findings, Exception):
            raise self.findings
        yield from self.findings


def levels(plugin: Plugin) -> list[tuple[str, str]]:
    """Level and subject of all that is found."""
    found = consult(plugin).findings
    assert_shown(found)
    return [(finding.level, finding.subject) for finding in found]


@pytest.mark.parametrize(
    ("devices", "level"),
    [([], "note"), ([Device("a")], "ok"), ([Device("a"), Device("b", Health.UNHEALTHY, "it burns")], "warning")],
)
def test_a_resource_is_judged_by_its_devices(devices: list[Device], level: str) -> None:
    """No device is a state; one that is not healthy is named with its reason."""
    (finding,) = consult(Plugin({WIDGET: devices})).findings
    assert (finding.level, finding.subject) == (level, WIDGET)
    assert level != "warning" or ("b: it burns" in finding.text and finding.cure.endswith("explain b"))


def test_a_look_that_fails_hides_no_finding() -> None:
    """It is then that they matter."""
    consulted = consult(Knowing(OSError("no bus")))
    assert_shown(consulted.findings)
    assert [(each.level, each.subject) for each in consulted.findings] == [("failure", "look"), ("ok", "module")]
    assert consulted.look is None


def test_notices_and_quarantined_devices_are_told() -> None:
    """Not all of a thousand."""
    many = [Device(f"bad id {number}") for number in range(MOST_TOLD + 5)]
    found = levels(Knowing({WIDGET: [Device("a"), *many]}))
    assert found[:2] == [("ok", WIDGET), ("note", "look")]
    assert found[2][0] == "warning"
    assert found[-2:] == [("warning", "quarantined"), ("ok", "module")]
    assert len(found) == 2 + MOST_TOLD + 2


def test_an_examination_that_raises_is_a_failure() -> None:
    """Of the plugin's author, and said so."""
    plugin = Knowing({WIDGET: [Device("a")]})
    plugin.findings = LookupError("no such luck")
    assert levels(plugin)[-1] == ("failure", "examination")


def test_findings_that_are_none_are_noted() -> None:
    """The good ones stay."""
    plugin = Knowing({})
    plugin.findings = (Finding("ok", "module", "It is loaded."), 5)
    assert levels(plugin)[-2:] == [("ok", "module"), ("note", "examination")]


def test_what_is_offered_is_collected_by_resource() -> None:
    """From all plugins that could look."""
    plugins = [Plugin({WIDGET: [Device("a")]}), Plugin({WIDGET: [Device("b")], "example.com/x": []}), Plugin(OSError())]
    assert offered(map(consult, plugins)) == {WIDGET: frozenset({"a", "b"}), "example.com/x": frozenset()}

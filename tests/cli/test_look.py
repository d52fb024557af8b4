"""``plugins`` and ``devices``: what they find, what they say, how they end."""

from typing import Any

import pytest

from supervisor.cli.tables import table
from tests.cli.conftest import BROKEN, FAILING, HANGING, WIDGETS, Machine


def _package(answer: Any, name: str) -> Any:
    return next(package for package in answer["packages"] if package["name"] == name)


def test_plugins_lists_what_is_installed(machine: Machine) -> None:
    """Distribution, version, state, and what each plugin can do."""
    machine.install("widgets", WIDGETS)
    machine.install("off", WIDGETS)
    machine.configure("plugins: {off: {enabled: false}}\n")
    answer = machine.ask("plugins", "--json")
    assert (answer.code, answer.err) == (0, "")
    assert _package(answer.json, "widgets") == {
        "name": "widgets",
        "distribution": "acme-widgets",
        "version": "1.2",
        "entry_point": "cli_sample_widgets",
        "state": "ready",
        "problem": "",
        "plugins": [{"name": "widgets", "capabilities": ["explain", "notices"]}],
        "refused": [],
    }
    assert _package(answer.json, "off")["state"] == "disabled"
    [row] = [line.split() for line in machine.ask("plugins").out.splitlines() if line.startswith("widgets ")]
    assert row == ["widgets", "acme-widgets", "1.2", "ready", "widgets", "(explain,", "notices)"]


def test_plugins_says_why_one_was_refused(machine: Machine) -> None:
    """One broken package does not hide the others, and the exit code tells."""
    machine.install("broken", BROKEN)
    machine.install("widgets", WIDGETS)
    answer = machine.ask("plugins")
    assert answer.code == 1
    assert "Refused:" in answer.out
    text = " ".join(answer.out.split())
    assert "acme-broken 1.2, entry point broken = cli_sample_broken: importing it failed: ModuleNotFoundError" in text
    answer = machine.ask("plugins", "--json")
    assert answer.code == 1
    assert "a_library_that_is_not_installed" in str(_package(answer.json, "broken")["problem"])
    assert _package(answer.json, "widgets")["state"] == "ready"


def test_two_plugins_of_one_name_are_told(machine: Machine) -> None:
    """The first package by name keeps it."""
    machine.install("a-widgets", WIDGETS)
    machine.install("b-widgets", WIDGETS)
    answer = machine.ask("plugins", "--json")
    assert answer.code == 1
    assert _package(answer.json, "a-widgets")["state"] == "ready"
    [refused] = _package(answer.json, "b-widgets")["refused"]
    assert refused["plugin"] == "widgets"
    assert refused["reason"].startswith("acme-a-widgets 1.2, ")


def test_devices_shows_everything_about_a_device(machine: Machine) -> None:
    """Resources, health with its reason, NUMA nodes, and each thing that a container gets."""
    machine.install("widgets", WIDGETS)
    answer = machine.ask("devices")
    assert (answer.code, answer.err) == (0, "")
    shown, title, quarantined = answer.out.partition("Quarantined:")
    assert shown + title == (
        "acme.example/none: no device now, by widgets\n"
        "\n"
        "acme.example/widget: 2 of 3 healthy, by widgets\n"
        "  DEVICE    NUMA  HEALTH                           A CONTAINER GETS\n"
        "  widget-0  1     Healthy                          /dev/widget0 rw\n"
        "                                                   /dev/widgetctl as /dev/ctl r\n"
        "                                                   /opt/acme ro mount\n"
        "                                                   ACME=1\n"
        "                                                   CDI acme.example/widget=0\n"
        "  widget-1  1     Healthy                          /dev/widget0 rw\n"
        "                                                   /dev/widgetctl as /dev/ctl r\n"
        "                                                   /opt/acme ro mount\n"
        "                                                   ACME=1\n"
        "                                                   CDI acme.example/widget=0\n"
        "  broken-1  -     Unhealthy: its fan stands still  /dev/widget9 rw\n"
        "\n"
        "Notices:\n"
        "  - widgets: the widget driver is old\n"
        "\n"
        "Quarantined:"
    )
    assert "widgets: acme.example/widget, device two words: " in quarantined


def test_devices_as_json_is_the_whole_truth(machine: Machine) -> None:
    """One JSON document on standard output and nothing else there."""
    machine.install("widgets", WIDGETS)
    answer = machine.ask("devices", "--json")
    assert (answer.code, answer.err) == (0, "")
    none, widget = answer.json["resources"]
    assert none == {"name": "acme.example/none", "plugin": "widgets", "pre_start_required": False, "devices": []}
    assert [device["id"] for device in widget["devices"]] == ["widget-0", "widget-1", "broken-1"]
    assert widget["devices"][0]["topology"] == {"numa_nodes": [1]}
    assert widget["devices"][0]["edits"]["envs"] == {"ACME": "1"}
    assert answer.json["notices"] == ["widgets: the widget driver is old"]
    assert len(answer.json["quarantined"]) == 1
    assert answer.json["failed"] == answer.json["refused"] == answer.json["contended"] == []


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_what_fails_or_hangs_hides_nobody(machine: Machine, isolation: str) -> None:
    """The others' devices are listed in time; the exit code tells."""
    machine.install("broken", BROKEN)
    machine.install("failing", FAILING)
    machine.install("hanging", HANGING)
    machine.install("widgets", WIDGETS)
    machine.configure(
        f"plugins: {{hanging: {{lookTimeout: 0.5, isolation: {isolation}}}, failing: {{isolation: {isolation}}}}}\n"
    )
    answer = machine.ask("devices", "--json")
    assert answer.code == 1
    assert [resource["name"] for resource in answer.json["resources"]] == ["acme.example/none", "acme.example/widget"]
    failing, hanging = answer.json["failed"]
    assert failing.startswith("failing: ")
    assert "the bus is on fire" in failing
    assert hanging.startswith("hanging: ")
    assert "acme-broken 1.2" in answer.json["refused"][0]


def test_a_mistake_in_one_section_is_told_and_hides_nobody(machine: Machine) -> None:
    """With its place, on standard error, and exit code 2."""
    machine.install("widgets", WIDGETS)
    machine.install("others", WIDGETS.replace('"widgets"', '"others"').replace("acme.example", "others.example"))
    machine.configure("plugins:\n  widgets: {cuont: 3}\n")
    answer = machine.ask("devices")
    assert answer.code == 2
    assert answer.err == f"{machine.config}:5:13: plugins.widgets.cuont: unknown key; did you mean count?\n"
    assert "others.example/widget: 2 of 3 healthy, by others" in answer.out


def test_two_plugins_with_one_resource_are_both_named(machine: Machine) -> None:
    """The first by name keeps it, as when the supervisor starts."""
    machine.install("widgets", WIDGETS)
    machine.install("zidgets", WIDGETS.replace('"widgets"', '"zidgets"').replace("acme.example/none", "acme.example/other"))
    answer = machine.ask("devices", "--json")
    assert [(each["name"], each["plugin"]) for each in answer.json["resources"]] == [
        ("acme.example/none", "widgets"),
        ("acme.example/other", "zidgets"),
        ("acme.example/widget", "widgets"),
    ]
    assert answer.json["contended"] == [
        "acme.example/widget: zidgets offers it too, but widgets keeps it; give one of them another resource name"
    ]


def test_nothing_to_offer_is_said(machine: Machine) -> None:
    """With where to look next; a plugin that looked and found nothing is another thing than none."""
    answer = machine.ask("devices")
    assert (answer.code, answer.out) == (0, "Nothing is offered: the plugins found no hardware of theirs.\n")
    machine.configure("plugins: {fpga: {enabled: false}, infiniband: {enabled: false}}\n")
    answer = machine.ask("devices")
    assert answer.code == 0
    assert answer.out.startswith("Nothing is offered: no ")


def test_a_table_keeps_its_columns() -> None:
    """Cells of several lines stay in their column; control characters are made harmless."""
    assert table(("A", "BB"), [("1\n22", "x"), ("\x1b[1m", "")], indent=" ") == " A     BB\n 1     x\n 22\n ?[1m"

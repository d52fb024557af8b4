"""``explain``: which rule or fact made a device offered, hidden or unhealthy, and what a running supervisor says of it."""

import pytest
from msgspec.structs import replace

from supervisor.cli.running import MOST_SHOWN, found_in
from supervisor.model import Health
from supervisor.report import NoticeReport
from supervisor.status import NoticeOrigin, Phase
from tests.cli.canned import EARLIER, EVENT, LONG_AGO, READY, WIDGET, canned, edited
from tests.cli.conftest import BROKEN, FAILING, WIDGETS, Machine

URL = "http://127.0.0.1:9410"


@pytest.mark.parametrize("name", ["broken-1", "/dev/widget9", "widget9"])
def test_explain_takes_an_id_a_path_or_a_kernel_name(machine: Machine, name: str) -> None:
    """Resource, plugin, health and reason, and what the plugin says."""
    machine.install("widgets", WIDGETS)
    answer = machine.ask("explain", "--offline", name)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(
        "device:    broken-1\n"
        "resource:  acme.example/widget\n"
        "plugin:    widgets\n"
        "health:    Unhealthy: its fan stands still\n"
        "NUMA node: no preference\n"
        "a container gets:\n"
        "  /dev/widget9 rw\n"
    )
    assert (f"{name} is a widget by rule 7" in answer.out) == ("widget" in name)


def test_explain_puts_replicas_together(machine: Machine) -> None:
    """What differs in nothing but the id is told once."""
    machine.install("widgets", WIDGETS)
    machine.configure("plugins: {widgets: {count: 30}}\n")
    answer = machine.ask("explain", "--offline", "widget0")
    assert answer.out.count("resource:") == 1
    assert "devices:   widget-0, widget-1, " in answer.out
    assert "… 22 more\n" in answer.out
    assert len(machine.ask("explain", "--offline", "widget0", "--json").json["offers"]) == 30


def test_explain_as_json(machine: Machine) -> None:
    """The question, the devices, the plugins' sentences."""
    machine.install("widgets", WIDGETS)
    answer = machine.ask("explain", "--offline", "widget-1", "--json")
    assert answer.code == 0
    [offer] = answer.json["offers"]
    assert (answer.json["device"], offer["plugin"], offer["resource"], offer["device"]["id"]) == (
        "widget-1",
        "widgets",
        "acme.example/widget",
        "widget-1",
    )
    assert answer.json["explanations"] == ["widgets: widget-1 is a widget by rule 7"]
    assert answer.json["not_offered"] == []
    assert answer.json["not_asked"] == ["nvidia-gpu: its section has enabled: false"]
    assert answer.json["running"] is None


def test_explain_proposes_what_was_meant(machine: Machine) -> None:
    """An unknown name is exit code 1; a plugin that cannot answer is told."""
    machine.install("failing", FAILING.replace('raise RuntimeError("the bus is on fire")', "return {}"))
    machine.install("widgets", WIDGETS)
    answer = machine.ask("explain", "--offline", "broken-2")
    assert (answer.code, answer.out) == (1, "")
    said, disabled, proposed = answer.err.splitlines()
    assert disabled == "not asked: nvidia-gpu: its section has enabled: false"
    assert said.startswith("failing: explain() failed: RuntimeError: no idea (")
    assert proposed == "No plugin knows broken-2; did you mean broken-1?"


# --- what is not offered ----------------------------------------------------------------------------------------------


def test_a_device_that_cannot_be_offered_as_it_is(machine: Machine) -> None:
    """What is wrong with it."""
    machine.install("widgets", WIDGETS)
    answer = machine.ask("explain", "--offline", "two words")
    assert (answer.code, answer.err) == (0, "")
    text = " ".join(answer.out.split())
    assert text.startswith("Not offered: - widgets: acme.example/widget, device two words: id: Expected ")


def test_a_device_of_a_resource_that_another_plugin_keeps(machine: Machine) -> None:
    """Who keeps it, and the cure; what offers the same node is shown beside it."""
    machine.install("widgets", WIDGETS)
    machine.install("zidgets", WIDGETS.replace('"widgets"', '"zidgets"').replace("broken-1", "zroken-1"))
    answer = machine.ask("explain", "--offline", "zroken-1", "--json")
    assert answer.code == 0
    assert answer.json["offers"] == []
    [reason] = answer.json["not_offered"]
    assert reason.startswith("zidgets: acme.example/widget, device zroken-1: widgets keeps acme.example/widget; give one ")
    assert "device:    broken-1" in (both := machine.ask("explain", "--offline", "/dev/widget9").out)
    assert "device zroken-1: widgets keeps" in " ".join(both.split())


def test_those_who_could_not_be_asked_are_named_where_nothing_is_known(machine: Machine) -> None:
    """A package that is disabled, and one that was refused, may have known it."""
    machine.install("broken", BROKEN)
    machine.install("off", WIDGETS)
    machine.configure("plugins: {off: {enabled: false}}\n")
    answer = machine.ask("explain", "--offline", "widget-0")
    assert (answer.code, answer.out) == (1, "")
    *idle, unknown = answer.err.splitlines()
    assert "not asked: off: its section has enabled: false" in idle
    assert any(line.startswith("not asked: acme-broken 1.2, ") and "a_library_that_is_not_installed" in line for line in idle)
    assert unknown.startswith("No plugin knows widget-0; ")


# --- what a running supervisor says -----------------------------------------------------------------------------------


def _ask(machine: Machine, port: int, *arguments: str) -> tuple[int, str, str]:
    machine.configure(f"http: {{listen: ':{port}'}}\n")
    answer = machine.ask("explain", *arguments)
    return answer.code, " ".join(answer.out.split()), answer.err


def test_a_running_supervisor_is_asked_where_the_configuration_says(machine: Machine) -> None:
    """Since when, with what reason, who holds it."""
    machine.install("widgets", WIDGETS)
    with canned(edited()) as server:
        code, out, err = _ask(machine, server.port, "widget-0")
        assert (code, err) == (0, "")
        assert out.endswith(
            f"What the running supervisor says, at {server.url}: - acme.example/widget: widget-0 is Healthy for 2 d, "
            f"since {LONG_AGO}; held by default/web-0 main"
        )
        answer = machine.ask("explain", "--json", "widget-0")
        [listed] = answer.json["running"]["listed"]
        assert listed["device"]["holders"][0]["pod"] == "web-0"
        assert len(server.seen) == 2
        machine.ask("explain", "--offline", "widget-0")
        assert len(server.seen) == 2


def test_a_running_supervisor_is_asked_for_what_a_plugin_means(machine: Machine) -> None:
    """By a name that only the plugin knows; the supervisor knows the id, which stands in what the plugin says."""
    machine.install("widgets", WIDGETS.replace("{text} is a widget by rule 7", "{text} is offered, by the id widget-0"))
    with canned(edited()) as server:
        code, out, err = _ask(machine, server.port, "my-widget")
    assert (code, err) == (0, "")
    assert "my-widget is offered, by the id widget-0" in out
    assert out.endswith(f"widget-0 is Healthy for 2 d, since {LONG_AGO}; held by default/web-0 main")
    assert "no plugin sees it now" not in out


def test_a_device_that_only_the_running_one_lists(machine: Machine) -> None:
    """It has vanished, and may still be held."""
    machine.install("widgets", WIDGETS)
    with canned(edited()) as server:
        code, out, err = _ask(machine, server.port, "gone-1")
    assert (code, err) == (0, "")
    assert "- no plugin sees it now - acme.example/widget: gone-1 is Unhealthy for 2 min" in out
    assert "vanished; held by perhaps pod 1f3a init" in out


def test_nothing_that_runs_is_said_plainly(machine: Machine) -> None:
    """The rest is told all the same; where nothing is known at all, on standard error."""
    machine.install("widgets", WIDGETS)
    with canned(b"") as server:
        port = server.port
    code, out, err = _ask(machine, port, "widget-0")
    assert (code, err) == (0, "")
    assert out.startswith("device: widget-0 ")
    silence = f"No running supervisor answers at http://127.0.0.1:{port}: Connection refused; is one running there?"
    assert silence in out
    code, out, err = _ask(machine, port, "gadget-7")
    assert (code, out) == (1, "")
    assert silence in err


def test_an_address_that_cannot_be_used_stops_nothing(machine: Machine) -> None:
    """Port 0 is no address; the plugins are asked all the same."""
    machine.install("widgets", WIDGETS)
    code, out, _ = _ask(machine, 0, "widget-0")
    assert code == 0
    assert "No running supervisor was asked: http.listen: port 0 stands for any" in out


def test_a_running_one_that_does_not_list_it(machine: Machine) -> None:
    """Is told in either case."""
    machine.install("widgets", WIDGETS)
    with canned(edited(resources=[])) as server:
        code, out, _ = _ask(machine, server.port, "widget-0")
        assert code == 0
        assert out.endswith(f"at {server.url}: - it does not list it")
        code, out, err = _ask(machine, server.port, "gadget-7")
        assert (code, out) == (1, "")
        assert f"The running supervisor at {server.url} does not list it\n" in err


def test_what_concerns_a_device_is_told_and_nothing_else() -> None:
    """Its resource's trouble, notices of it, its events; not those of others."""
    about = NoticeReport(NoticeOrigin.LOOK, "acme.example/widget two", "its id has a space", EARLIER)
    other = NoticeReport(NoticeOrigin.LOOK, "acme.example/widget three", "no", EARLIER)
    events = tuple(replace(EVENT, device=name, text=f"event of {name}") for name in ("widget-1", "three"))
    resource = replace(WIDGET, phase=Phase.LOST, reason="the kubelet is gone", list_problem="it is too long")
    plugins = (replace(READY.plugins[0], notices=(about, other)),)
    report = replace(READY, active=False, active_reason="7 is the owner", resources=(resource,), plugins=plugins, events=events)
    state = "acme.example/widget: widget-1 is Unhealthy for 2 min, since 2026-03-01T11:58:00.000Z: its fan stands still"
    assert found_in(report, URL, {"widget-1", "two"}).sentences == (
        f"{state}; no container is known to hold it",
        "it stands by, so another process offers to the kubelet: 7 is the owner",
        "acme.example/widget is lost, not connected: the kubelet is gone",
        "the kubelet has an older list of acme.example/widget: it is too long",
        "acme.example/widget two: its id has a space",
        "2 min ago: event of widget-1 (3 times)",
    )


def test_a_device_is_not_called_free_where_nobody_knows() -> None:
    """With the reason."""
    report = replace(READY, attribution=replace(READY.attribution, known=False, reason="no socket"))
    [sentence] = found_in(report, URL, {"widget-1"}).sentences
    assert sentence.endswith("; who holds it is not known (no socket)")


def test_of_many_replicas_the_broken_ones_come_first() -> None:
    """All are listed for programs, a few for people."""
    device = WIDGET.devices[0]
    bad = replace(device, id="r-50", health=Health.UNHEALTHY, reason="worn out")
    devices = (*(replace(device, id=f"r-{n}") for n in range(50)), bad)
    running = found_in(replace(READY, resources=(replace(WIDGET, devices=devices),)), URL, {one.id for one in devices})
    assert len(running.listed) == 51
    assert "r-50 is Unhealthy" in running.sentences[0]
    assert running.sentences[MOST_SHOWN] == f"… {51 - MOST_SHOWN} more"

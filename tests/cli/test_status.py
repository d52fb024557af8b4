"""``status``: what it shows, and what it says of servers that are newer, closed, odd or not there."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from supervisor.cli import asking
from supervisor.cli.asking import ask
from supervisor.cli.door import Door
from supervisor.cli.picture import age
from supervisor.cli.reading import read
from supervisor.errors import SupervisorError
from supervisor.model import Health
from supervisor.report import DeviceReport, Report, schema
from tests.cli.canned import EARLIER, EVENT, LONG_AGO, NOW, READY, WIDGET, Answer, Handler, canned, edited
from tests.cli.conftest import Run, Said
from tests.jsonschema import violations

SCHEMA = Path(__file__).parents[2] / "deploy" / "status.schema.json"


def _show(status: Run, document: bytes, *arguments: str) -> Said:
    with canned(document) as server:
        return status("--address", server.url, *arguments)


def _many(count: int, *bad: int) -> Report:
    devices = tuple(DeviceReport(f"m-{n}", Health.UNHEALTHY if n in bad else Health.HEALTHY, EARLIER) for n in range(count))
    many = replace(WIDGET, healthy=count - len(bad), unhealthy=len(bad), tombstones=0, devices=devices)
    return replace(READY, resources=(many,))


# --- what it shows ----------------------------------------------------------------------------------------------------


def test_it_shows_what_the_page_shows(status: Run) -> None:
    """Node and state, role, kubelet, configuration, resources, devices with holders, plugins, events; nothing on stderr."""
    said = _show(status, edited())
    assert (said.code, said.err) == (0, "")
    rows = [" ".join(line.split()) for line in said.out.splitlines()]
    assert rows[0] == "node-1: ready, active"
    for row in (
        "role active for 2 d: nobody else held the lock",
        "kubelet connected for 2 d",
        "configuration generation 3",
        "holders from podresources, read 0 s ago",
        "- plugin widgets: the driver is old",
        "acme.example/widget widgets 1 1 1 1 connected 2 d",
        "acme.example/widget: 1 of 3 healthy",
        "widget-0 Healthy 2 d 1 default/web-0 main",
        "widget-1 Unhealthy 2 min - - its fan stands still",
        "gone-1 Unhealthy 2 min - perhaps pod 1f3a init vanished",
        "widgets acme-widgets 1.2 up 2 min ago the driver is old",
        "2 min warning acme.example/widget: widget-1 is unhealthy (3 times in 0 s)",
    ):
        assert row in rows, said.out
    assert not any(line.endswith(" ") for line in said.out.splitlines())


def test_not_ready_is_1_and_what_stops_it_comes_first(status: Run) -> None:
    """Before the resources."""
    said = _show(status, edited(ready=False, live=False, active=False, reasons=["no kubelet: nobody answers"]))
    assert said.code == 1
    assert said.out.startswith("node-1: not ready, not live, standing by\n")
    assert 0 < said.out.index("no kubelet: nobody answers") < said.out.index("RESOURCE")


def test_it_claims_no_more_than_is_known(status: Run) -> None:
    """Where nobody can say who holds what, a device is not shown as free."""
    report = replace(READY, attribution=replace(READY.attribution, known=False, reason="the socket is absent", source=""))
    report = replace(report, resources=(replace(WIDGET, held=None, devices=WIDGET.devices[1:2]),))
    said = _show(status, edited(report))
    assert "not known, read 0 s ago: the socket is absent" in said.out
    [row] = [line.split() for line in said.out.splitlines() if "widget-1 " in line and "fan" in line]
    assert row[5] == "?"


def test_trouble_with_configuration_and_lists_is_told(status: Run) -> None:
    """A refused edit, pending sections, a list that could not be sent."""
    config = {"generation": 3, "problems": ["a.yaml:3:1: no", "a.yaml:4:1: no"], "pending": ["http"]}
    report = replace(READY, resources=(replace(WIDGET, list_problem="it is too long"),))
    said = _show(status, edited(report, config=config))
    assert "generation 3, the newest edit is refused (2 mistakes), at the next start: http" in said.out
    assert "an older list stays: it is too long" in said.out


def test_a_supervisor_that_offers_nothing(status: Run) -> None:
    """Is shown all the same; without a node's name by its address."""
    said = _show(status, edited(resources=[], plugins=[], events=[], reasons=[], node=""))
    assert said.code == 0
    assert said.out.startswith("http://127.0.0.1:")
    assert said.out.endswith("\nNo resource is offered.\n")


def test_long_lists_are_folded_with_the_unhealthy_first(status: Run) -> None:
    """How much is left out is told, and what shows it."""
    document = edited(_many(30, 29), events=msgspec.to_builtins([EVENT] * 12))
    said = _show(status, document)
    ids = [line.split()[0] for line in said.out.splitlines() if line.startswith("  m-")]
    assert ids == ["m-29", *(f"m-{n}" for n in range(19))]
    assert "  … 10 more, all healthy: --all or --resource shows them\n" in said.out
    assert "… 2 older: --all shows them" in said.out
    said = _show(status, document, "--all")
    assert said.out.count("  m-") == 30
    assert "…" not in said.out


def test_folding_hides_no_unhealthy_device_in_silence(status: Run) -> None:
    """More of them than are shown are counted."""
    said = _show(status, edited(_many(30, *range(25))))
    assert "… 10 more, 5 of them not healthy: " in said.out


def test_one_resource_alone(status: Run) -> None:
    """With all its devices, its plugin and its events; another's are left out."""
    other = replace(WIDGET, name="acme.example/other", plugin="others", devices=())
    plugins = (*READY.plugins, replace(READY.plugins[0], name="others", notices=()))
    events = (replace(EVENT, resource=WIDGET.name, text="this"), replace(EVENT, resource=other.name, text="that"))
    many = _many(30)
    document = edited(replace(many, resources=(*many.resources, other), plugins=plugins, events=events))
    said = _show(status, document, "--resource", WIDGET.name)
    assert (said.code, said.out.count("  m-")) == (0, 30)
    assert "this" in said.out
    assert "other" not in said.out
    assert "that" not in said.out


def test_an_unknown_resource_is_told_with_what_was_meant(status: Run) -> None:
    """Exit code 1."""
    said = _show(status, edited(), "--resource", "acme.example/wigdet")
    assert (said.code, said.out) == (1, "")
    assert said.err == "device-plugin-supervisor: it has no resource acme.example/wigdet; it has acme.example/widget\n"


def test_what_comes_cannot_steer_a_terminal(status: Run) -> None:
    """Control characters of ids, reasons and names are made harmless, and no markup is read from them."""
    evil = DeviceReport("\x1b[2Jw[red]", Health.UNHEALTHY, "\x1b]0;x\x07", "\x9b31m\r[/]")
    report = replace(READY, node="\x1b[1m", reasons=("\x1b[5m",), resources=(replace(WIDGET, devices=(evil,)),))
    said = _show(status, edited(report))
    assert all(line.isprintable() for line in said.out.splitlines())
    assert "?[2Jw[red]" in said.out


@pytest.mark.parametrize(
    ("moment", "shown"),
    [
        (NOW, "0 s"),
        (EARLIER, "2 min"),
        ("2026-03-01T09:00:00Z", "3 h"),
        (LONG_AGO, "2 d"),
        ("2027-01-01T00:00:00Z", "0 s"),
        ("tomorrow", "tomorrow"),
        ("2026-03-01", "2026-03-01"),
        ("", "-"),
        (None, "-"),
    ],
)
def test_ages(moment: str | None, shown: str) -> None:
    """In the largest whole unit; what is no moment stays as it is."""
    assert age(moment, NOW) == shown


# --- documents --------------------------------------------------------------------------------------------------------


def test_json_is_the_document_as_it_came(status: Run) -> None:
    """Byte for byte, also what this program does not know; the exit code still tells."""
    document = edited(ready=False, novelty={"a": [1, 2]})
    said = _show(status, document, "--json")
    assert (said.code, said.out, said.err) == (1, document.decode() + "\n", "")


def test_a_newer_supervisor_is_understood(status: Run) -> None:
    """New fields are passed over; new words for health, phase, state and level are shown as they are."""
    document = json.loads(edited())
    document["resources"][0] |= {"phase": "dreaming", "colour": "blue"}
    document["resources"][0]["devices"][0] |= {"health": "Wounded", "wattage": 3}
    document["plugins"][0] |= {"state": "meditating"}
    document["plugins"][0]["notices"][0]["origin"] = "moon"
    document["events"][0]["level"] = "panic"
    document |= {"apiVersion": "device-plugin-supervisor/v1beta1", "mood": "good"}
    said = _show(status, json.dumps(document).encode())
    assert (said.code, said.err) == (0, "")
    for word in ("dreaming", "Wounded", "meditating", "panic", "it speaks device-plugin-supervisor/v1beta1, this program "):
        assert word in said.out


def test_a_device_of_unknown_health_is_not_taken_for_healthy(status: Run) -> None:
    """It comes first, as the unhealthy do."""
    report = _many(3)
    document = json.loads(edited(report))
    document["resources"][0]["devices"][2]["health"] = "Wounded"
    said = _show(status, json.dumps(document).encode())
    assert said.out.index("m-2") < said.out.index("m-0")


def test_reading_gives_what_was_written() -> None:
    """For a document of this version nothing is lost by the tolerance."""
    assert msgspec.to_builtins(read(edited())) == msgspec.to_builtins(READY)


@pytest.mark.checkout
def test_the_schema_is_published(status: Run) -> None:
    """The file in the repository is what the command prints: ``status --schema > deploy/status.schema.json``."""
    said = status("--schema")
    assert (said.code, said.err) == (0, "")
    assert said.out == SCHEMA.read_text()


def test_documents_fit_the_schema() -> None:
    """Full ones and bare ones; a wrong word or a missing field does not."""
    assert list(violations(json.loads(edited()), schema())) == []
    bare = replace(READY, resources=(), plugins=(), events=(), active_since=None, kubelet=replace(READY.kubelet, since=None))
    assert list(violations(json.loads(edited(bare)), schema())) == []
    assert list(violations(json.loads(edited(kind="Other", ready="yes")), schema())) == [
        "$.kind: 'Other' is none of ['Status']",
        "$.ready: 'yes' is no boolean",
    ]
    lacking = {name: value for name, value in json.loads(edited()).items() if name != "node"}
    assert list(violations(lacking, schema())) == ["$: node is missing"]


# --- odd answers ------------------------------------------------------------------------------------------------------


def _half(handler: Handler) -> None:
    handler.send(b"{", content_length="100")


def _redirect(handler: Handler) -> None:
    handler.send(b"", 302, location="http://elsewhere.example/")


ODD: dict[str, tuple[Answer | bytes, str]] = {
    "html": (b"<!doctype html><title>Welcome</title>", "what came is no status of a supervisor: JSON is malformed"),
    "empty": (b"", "what came is no status of a supervisor: "),
    "another kind": (edited(kind="Pod"), "it is of the kind Pod; is the address right?"),
    "another document": (b'{"status": "ok"}', "missing required field"),
    "a list": (b"[]", "Expected `object`, got `array`"),
    "too deep": (b"[" * 100_000, "what came is no status of a supervisor: "),
    "no text": (b"\xff\xfe\x00", "what came is no status of a supervisor: "),
    "half of it": (_half, "it does not answer properly: "),
    "500": (lambda handler: handler.send(b"oh", 500), "it answers 500 Internal Server Error; is it a supervisor?"),
    "404": (lambda handler: handler.send(b"no", 404), "it answers 404 Not Found; is it a supervisor?"),
    "503": (lambda handler: handler.send(b"no", 503), "is too busy now: ask again"),
    "401": (lambda handler: handler.send(b"no", 401), "it answers 401 Unauthorized; --token-file FILE sends a token"),
    "403": (lambda handler: handler.send(b"no", 403), "it answers 403 Forbidden; --token-file FILE sends a token"),
    "redirect": (_redirect, "it answers 302 Found: it is at http://elsewhere.example/; name that with --address"),
    "no http": (lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n"), "it does not answer properly: "),
    "nothing": (lambda handler: None, "it does not answer properly: "),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("how", ["text", "json"])
def test_odd_answers_are_told_with_a_cure(status: Run, name: str, how: str) -> None:
    """Exit code 1, one line on standard error, nothing on standard output."""
    answer, expected = ODD[name]
    with canned(answer) as server:
        said = status("--address", server.url, *(["--json"] if how == "json" else []))
    assert (said.code, said.out) == (1, "")
    assert expected in said.err
    assert said.err.count("\n") == 1
    assert len(server.seen) == 1


def _trickle(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while not handler.server.over.wait(0.02):
        handler.wfile.write(b" ")


def _trickled_headers(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    while not handler.server.over.wait(0.02):
        handler.wfile.write(b"x")


def _silence(handler: Handler) -> None:
    handler.server.over.wait()


@pytest.mark.parametrize("answer", [_trickle, _trickled_headers, _silence])
def test_an_answer_that_does_not_come_is_not_waited_for(answer: Answer) -> None:
    """The patience is for the whole, however often something comes."""
    with canned(answer) as server, pytest.raises(SupervisorError, match="its /livez says whether it is alive"):
        ask(Door(server.url), patience=0.3)


def test_an_answer_without_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor read any further than the most that a supervisor can say."""
    monkeypatch.setattr(asking, "MOST_BYTES", 1 << 20)

    def flood(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not handler.server.over.is_set():
            handler.wfile.write(b" " * 65536)

    with canned(flood) as server, pytest.raises(SupervisorError, match="its answer does not end, 1 MiB so far"):
        ask(Door(server.url))


def test_nobody_there(status: Run) -> None:
    """Is it running? Is the address right?"""
    with canned(b"") as server:
        url = server.url
    said = status("--address", url)
    assert (said.code, said.out) == (1, "")
    assert said.err == (
        f"device-plugin-supervisor: {url}: Connection refused; "
        "is one running there? --address names another place, --config its configuration\n"
    )


def test_proxies_of_the_environment_are_not_asked(status: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """They could read the token, and to them 127.0.0.1 is another machine."""
    with canned(b"proxied") as proxy, canned(edited()) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert status("--address", server.url).code == 0
        assert (len(proxy.seen), len(server.seen)) == (0, 1)


# --- usage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--watch", "soon"], "Expected seconds, at least 0.1, got 'soon'"),
        (["--watch", "0"], "Expected seconds, at least 0.1, got '0'"),
        (["--json", "--watch"], "not allowed with argument --json"),
        (["--json", "--all"], "--resource and --all go with the text alone"),
        (["--address", "node"], "Expected address:port"),
        (["--address", "ftp://node"], "Expected a URL like https://node.example:9410"),
        (["--address", "http://user@node"], "Expected a URL like https://node.example:9410"),
        (["--address", ":1", "--key", "k"], "--key: a key without its certificate is of no use"),
        (["--address", ":1", "--token-file", "/nowhere"], "/nowhere: cannot be read: No such file or directory"),
        (["--address", ":1", "--ca", "/nowhere"], "/nowhere: no certificate can be read from it: No such file or directory"),
        (["--address", ":1", "--cert", "/nowhere"], "/nowhere: cannot be shown to the server: No such file or directory"),
        (["--config", "/nowhere"], "/nowhere: does not exist"),
    ],
)
def test_wrong_usage_is_2(status: Run, arguments: list[str], complaint: str) -> None:
    """Nobody is asked."""
    said = status(*arguments)
    assert (said.code, said.out) == (2, "")
    assert complaint in said.err


def _settings(file: Path, **http: Any) -> str:
    file.write_text(json.dumps({"apiVersion": READY.api_version, "kind": "SupervisorConfig", "http": http}))
    return str(file)


def test_the_configuration_says_where(status: Run, tmp_path: Path) -> None:
    """``:9410`` means all addresses of this machine, so it is asked on 127.0.0.1."""
    with canned(edited()) as server:
        said = status("--config", _settings(tmp_path / "config.yaml", listen=f":{server.port}"))
    assert (said.code, said.err) == (0, "")
    assert [request["path"] for request in server.seen] == ["/status"]


def test_a_port_that_nobody_knows_is_told(status: Run, tmp_path: Path) -> None:
    """Port 0 is another one each time."""
    said = status("--config", _settings(tmp_path / "config.yaml", listen="127.0.0.1:0"))
    assert said.code == 2
    assert "name that with --address" in said.err

"""What each path answers, from events to bytes."""

import gzip
import json
import threading
import time
from collections.abc import Awaitable, Callable

import pytest
import trio

from supervisor import events
from supervisor.observe.board import StatusBoard
from supervisor.observe.exchange import Page, Request, Response
from supervisor.observe.metrics import Metrics
from supervisor.observe.pages import pages
from supervisor.observe.reporting import View
from supervisor.observe.series import Taken
from supervisor.status import Liveness

GPU = "vendor.example/gpu"
START = (
    events.PluginLoaded("gpu", "gpu-package", "1.0"),
    events.ResourceOffered("gpu", GPU),
    events.InventoryPublished("gpu", GPU, 1, 0),
    events.LookFinished("gpu", 0.1, 1),
    events.ResourceBound(GPU, "/d/a.sock"),
    events.ConfigApplied(1, ()),
)


class Process:
    """Everything behind the pages, with numbers that a test may set."""

    def __init__(self) -> None:
        self.now = 0.0
        self.liveness = Liveness(0.1, 0.1)
        self.taken_in: list[threading.Thread] = []
        self.board = StatusBoard()
        self.metrics = Metrics()
        self.looked = 0
        self.pages = pages(self._view, self._taken, self._look_up, self.metrics)

    def _view(self) -> View:
        return View(self.board.current, self.liveness, now=time.monotonic(), wall=time.time(), started=0.0)

    async def _look_up(self) -> None:
        self.looked += 1

    def _taken(self) -> Taken:
        self.taken_in.append(threading.current_thread())
        return Taken(self.board.current)

    def tell(self, *happened: events.Event) -> None:
        for event in happened:
            self.board(event)
            self.metrics(event)

    def ask(self, path: str, accept: str = "", *, authorized: bool = True) -> Awaitable[Response]:
        return self.pages[path](Request(path, accept=accept, authorized=authorized))


@pytest.fixture
def process() -> Process:
    return Process()


async def test_livez_fails_with_a_late_thread(process: Process) -> None:
    """Both threads turn: 200. One does not: 503, and its name."""
    assert await process.ask("/livez") == Response(200, b"live\n")
    process.liveness = Liveness(0.1, 12.0)
    assert await process.ask("/livez") == Response(503, b"not live\n- the wire thread has not turned for 12.0 s\n")


async def test_readyz_tells_both_kinds_of_ready(process: Process) -> None:
    """A standby and an owner are told apart; what stops nothing is in the body of the 200."""
    assert await process.ask("/readyz") == Response(503, b"not ready\n- the plugins are not loaded yet\n")
    process.tell(*START, events.ConfigRejected(("line 3: unknown key",)))
    named = b"- configuration not applied: line 3: unknown key\n"
    assert await process.ask("/readyz") == Response(200, b"ready, standing by\n" + named)
    process.tell(events.OwnershipChanged(active=True, reason="free"), events.Registered(GPU, 0.1))
    assert await process.ask("/readyz") == Response(200, b"ready, active\n" + named)


async def test_strangers_hear_the_verdict_alone(process: Process) -> None:
    """A kubelet's probe that shows no token gets the status code and the one line."""
    assert await process.ask("/readyz", authorized=False) == Response(503, b"not ready\n")
    process.tell(*START)
    assert await process.ask("/readyz", authorized=False) == Response(200, b"ready, standing by\n")
    process.liveness = Liveness(0.1, 12.0)
    assert await process.ask("/livez", authorized=False) == Response(503, b"not live\n")


async def test_long_pages_are_compressed_for_those_who_like_it(process: Process) -> None:
    """What Prometheus asks for; nobody else gets it."""
    process.tell(*START)
    page = process.pages["/metrics"]
    plain, small = await page(Request("/metrics")), await page(Request("/metrics", accepts_gzip=True))
    assert ("Content-Encoding", "gzip") in small.headers
    assert gzip.decompress(small.body).splitlines()[0] == plain.body.splitlines()[0]
    assert plain.headers == (("Vary", "Accept-Encoding"),)


async def test_metrics_come_in_the_wanted_form(process: Process) -> None:
    """The values are taken in the supervising thread; plain text or OpenMetrics, as asked."""
    process.tell(*START)
    plain = await process.ask("/metrics", "text/plain")
    assert (plain.status, plain.content_type) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b'device_plugin_plugin_up{plugin="gpu"} 1.0\n' in plain.body
    open_metrics = await process.ask("/metrics", "application/openmetrics-text;version=1.0.0")
    assert open_metrics.content_type.startswith("application/openmetrics-text")
    assert set(process.taken_in) == {threading.current_thread()}


async def test_status_is_the_picture_as_json(process: Process) -> None:
    """Machine-readable, with the judgements in it."""
    process.tell(*START)
    answer = await process.ask("/status")
    assert (answer.status, answer.content_type) == (200, "application/json")
    shown = json.loads(answer.body)
    assert process.looked == 1
    assert (shown["ready"], shown["active"], shown["resources"][0]["phase"]) == (True, False, "bound")


async def test_scrapes_at_the_same_time_are_drawn_one_after_the_other(process: Process) -> None:
    """Twenty scrapes take one thread at a time, and all are answered."""
    answers: list[Response] = []

    async def scrape(ask: Callable[[Request], Awaitable[Response]]) -> None:
        answers.append(await ask(Request("/metrics")))

    page: Page = process.pages["/metrics"]
    before = threading.active_count()
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(scrape, page)
        await trio.lowlevel.checkpoint()
        assert threading.active_count() <= before + 1
    assert [answer.status for answer in answers] == [200] * 20

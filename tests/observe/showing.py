"""The real HTTP server with the page of any report, for a browser to look at."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import trio

from supervisor.config import HttpConfig
from supervisor.observe import page
from supervisor.observe.exchange import Page, Request, Response, compressed
from supervisor.observe.http import serve
from supervisor.report import Report


class Showing:
    """What is shown now, where, and what was answered."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.port = 0
        self.status: int | None = None
        """Answer with this instead of the page."""
        self.statuses: list[int] = []
        """Of the answers for ``/``."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def pages(self) -> Mapping[str, Page]:
        return {"/": self._page, **dict.fromkeys(page.ASSETS, self._asset)}

    async def _page(self, request: Request) -> Response:
        response = page.show(self.report, request) if self.status is None else Response(self.status, b"")
        self.statuses.append(response.status)
        return compressed(response, request)

    async def _asset(self, request: Request) -> Response:
        return compressed(page.asset(request), request)


@contextmanager
def showing(report: Report) -> Iterator[Showing]:
    """Serve it from a thread, until the block ends."""
    shown = Showing(report)
    started = threading.Event()
    stop = trio.Event()
    token: list[trio.lowlevel.TrioToken] = []

    async def main() -> None:
        token.append(trio.lowlevel.current_trio_token())
        async with trio.open_nursery() as nursery:
            port = await nursery.start(partial(serve, HttpConfig("127.0.0.1:0"), shown.pages, lambda event: None))
            assert port is not None
            shown.port = port
            started.set()
            await stop.wait()
            nursery.cancel_scope.cancel()

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    try:
        assert started.wait(30)
        yield shown
    finally:
        token[0].run_sync_soon(stop.set)
        thread.join()

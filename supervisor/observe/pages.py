"""What each path answers. Judgements are made where they are asked for; a long page is drawn in a thread of its own, one at a time."""

import time
from collections.abc import Callable, Mapping

import trio

from supervisor.observe.exchange import Page, Request, Response, compressed
from supervisor.observe.metrics import Metrics
from supervisor.status import Liveness, Status, document, live, ready


def pages(status: Callable[[], Status], liveness: Callable[[], Liveness], metrics: Metrics) -> Mapping[str, Page]:
    """The paths of the HTTP server. ``status`` and ``liveness`` are called in the supervising thread."""
    one_at_a_time = trio.CapacityLimiter(1)

    async def livez(request: Request) -> Response:
        is_live, late = live(liveness())
        return _verdict(request, is_live, "live", late)

    async def readyz(request: Request) -> Response:
        now = status()
        is_ready, reasons = ready(now, time.monotonic())
        return _verdict(request, is_ready, "ready, active" if now.active else "ready, standing by", reasons)

    async def drawn(request: Request, draw: Callable[[], Response]) -> Response:
        return await trio.to_thread.run_sync(lambda: compressed(draw(), request), limiter=one_at_a_time)

    async def scraped(request: Request) -> Response:
        taken = metrics.take()
        return await drawn(request, lambda: Response(200, *metrics.render(taken, request.accept)))

    async def shown(request: Request) -> Response:
        picture = (status(), liveness(), time.monotonic(), time.time())
        return await drawn(request, lambda: Response(200, document(*picture), "application/json"))

    return {"/livez": livez, "/readyz": readyz, "/metrics": scraped, "/status": shown}


def _verdict(request: Request, good: bool, word: str, reasons: tuple[str, ...]) -> Response:
    """Who may not see the rest still learns the verdict."""
    told = reasons if request.authorized else ()
    lines = (word if good else f"not {word.partition(',')[0]}", *(f"- {reason}" for reason in told), "")
    return Response(200 if good else 503, "\n".join(lines).encode())

"""What each path answers. Judgements are made where they are asked for; a long page is drawn in a thread of its own, one at a time."""

import time
from collections.abc import Callable, Mapping

import trio

from supervisor.observe.http import Page, Response
from supervisor.observe.metrics import Metrics
from supervisor.status import Liveness, Status, document, live, ready


def pages(status: Callable[[], Status], liveness: Callable[[], Liveness], metrics: Metrics) -> Mapping[str, Page]:
    """The paths of the HTTP server. ``status`` and ``liveness`` are called in the supervising thread."""
    one_at_a_time = trio.CapacityLimiter(1)

    async def livez(accept: str) -> Response:
        is_live, late = live(liveness())
        return _verdict(is_live, "live", late)

    async def readyz(accept: str) -> Response:
        now = status()
        is_ready, reasons = ready(now, time.monotonic())
        return _verdict(is_ready, "ready, active" if now.active else "ready, standing by", reasons)

    async def scraped(accept: str) -> Response:
        body, content_type = await trio.to_thread.run_sync(metrics.render, metrics.take(), accept, limiter=one_at_a_time)
        return Response(200, body, content_type)

    async def shown(accept: str) -> Response:
        picture = (status(), liveness(), time.monotonic(), time.time())
        body = await trio.to_thread.run_sync(document, *picture, limiter=one_at_a_time)
        return Response(200, body, "application/json")

    return {"/livez": livez, "/readyz": readyz, "/metrics": scraped, "/status": shown}


def _verdict(good: bool, word: str, reasons: tuple[str, ...]) -> Response:
    lines = (word if good else f"not {word.partition(',')[0]}", *(f"- {reason}" for reason in reasons), "")
    return Response(200 if good else 503, "\n".join(lines).encode())

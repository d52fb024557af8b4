"""What each path answers. Judgements are made where they are asked for; a long page is drawn in a thread of its own, one at a time."""

from collections.abc import Awaitable, Callable, Mapping

import msgspec
import trio

from supervisor.observe import page
from supervisor.observe.exchange import Page, Request, Response, compressed
from supervisor.observe.metrics import Metrics
from supervisor.observe.reporting import View, report
from supervisor.observe.series import Taken
from supervisor.status import live, ready


def pages(
    view: Callable[[], View], taken: Callable[[], Taken], look_up: Callable[[], Awaitable[object]], metrics: Metrics
) -> Mapping[str, Page]:
    """The paths of the HTTP server. ``view`` and ``taken`` are called in the supervising thread: what is shown, and measured.

    ``look_up`` is awaited before anything is shown that tells who holds what.
    """
    one_at_a_time = trio.CapacityLimiter(1)

    async def livez(request: Request) -> Response:
        is_live, late = live(view().liveness)
        return _verdict(request, is_live, "live", late)

    async def readyz(request: Request) -> Response:
        now = view()
        is_ready, reasons = ready(now.status, now.now)
        return _verdict(request, is_ready, "ready, active" if now.status.active else "ready, standing by", reasons)

    async def drawn(request: Request, draw: Callable[[], Response]) -> Response:
        return await trio.to_thread.run_sync(lambda: compressed(draw(), request), limiter=one_at_a_time)

    async def scraped(request: Request) -> Response:
        await look_up()
        measured = taken()
        return await drawn(request, lambda: Response(200, *metrics.render(measured, request.accept)))

    async def shown(request: Request) -> Response:
        await look_up()
        now = view()
        return await drawn(request, lambda: Response(200, msgspec.json.encode(report(now)), "application/json"))

    async def seen(request: Request) -> Response:
        await look_up()
        now = view()
        return await drawn(request, lambda: page.show(report(now), request))

    async def asset(request: Request) -> Response:
        return await drawn(request, lambda: page.asset(request))

    for_people = {"/": seen, **dict.fromkeys(page.ASSETS, asset)}
    return for_people | {"/livez": livez, "/readyz": readyz, "/metrics": scraped, "/status": shown}


def _verdict(request: Request, good: bool, word: str, reasons: tuple[str, ...]) -> Response:
    """Who may not see the rest still learns the verdict."""
    told = reasons if request.authorized else ()
    lines = (word if good else f"not {word.partition(',')[0]}", *(f"- {reason}" for reason in told), "")
    return Response(200 if good else 503, "\n".join(lines).encode())

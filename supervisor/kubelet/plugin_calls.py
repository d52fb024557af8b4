"""Plugin code behind an RPC: it runs in the plugin's own slots, up to a deadline, and never on the wire thread."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

from supervisor.contract import describe
from supervisor.errors import AllocationRefused, PluginFailed
from supervisor.slots import Expired, Outcome, Raised, Slots


async def call_plugin(
    slots: Slots, function: Callable[..., Any], arguments: tuple[Any, ...], timeout: float, late: set[object]
) -> Any:
    """What ``function`` returned. Waiting for a slot counts as time.

    Raises ``TimeoutError`` when it is late, ``AllocationRefused`` as the plugin raised it, ``PluginFailed`` for any other
    error. While a call that nobody waits for any more is still running, ``late`` holds a token for it; its answer is dropped.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Outcome] = loop.create_future()
    token = object()

    def settle(outcome: Outcome) -> None:
        late.discard(token)
        if not answer.done():
            answer.set_result(outcome)

    def done(outcome: Outcome) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it everybody who waited
            loop.call_soon_threadsafe(settle, outcome)

    slots.submit(function, *arguments, deadline=time.monotonic() + timeout, done=done)
    try:
        async with asyncio.timeout(timeout):
            outcome = await answer
    except (TimeoutError, asyncio.CancelledError):
        if not answer.done() or answer.cancelled():
            late.add(token)
        raise
    if isinstance(outcome, Expired):
        raise TimeoutError
    if isinstance(outcome, Raised):
        raise _translated(outcome.error)
    return outcome.value


def _translated(error: BaseException) -> Exception:
    if isinstance(error, AllocationRefused | PluginFailed):
        return error
    return PluginFailed(f"the plugin failed: {describe(error)}")

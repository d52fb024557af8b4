"""A condition of the node, ``True`` while all devices are healthy and all plugins look at their hardware.

It is written when it changes and then every five minutes, by the owner of the node alone. When nobody writes it any more its
heartbeat tells that.
"""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import trio
from msgspec import Struct

from supervisor import events
from supervisor.cluster.api import Api, ApiRefused, ApiUnavailable, Node, Stored, Troubles, path_of
from supervisor.cluster.recorder import timestamp
from supervisor.cluster.reporter import REFUSED_PAUSE
from supervisor.status import PluginState, Status
from supervisor.wakeup import WakeUp

HEARTBEAT = 300.0
HOLD = 10.0
"""Seconds that a change must last before it is written."""
NAMED = 8
"""Resources, and plugins, that the message names."""
ABOUT = "node condition"

_CONCERNED = (
    events.InventoryPublished,
    events.ResourceRetired,
    events.LookFinished,
    events.LookFailed,
    events.PluginStuck,
    events.PluginRecovered,
    events.PluginRetired,
    events.OwnershipChanged,
    events.ConfigApplied,
)


class Verdict(Struct, frozen=True):
    status: Literal["True", "False"]
    reason: str
    message: str


def judge(status: Status) -> Verdict:
    """What the condition is to say. A plugin that is not used at all is a matter of installation and changes nothing."""
    devices = [f"{one.unhealthy} of {one.healthy + one.unhealthy} {one.name}" for one in status.resources if one.unhealthy]
    plugins = [one.name for one in status.plugins if one.state in {PluginState.FAILING, PluginState.STUCK}]
    if not devices and not plugins:
        return Verdict("True", "AllHealthy", "all devices are healthy")
    reason = "PluginsFailing" if plugins else "DevicesUnhealthy"
    return Verdict("False", reason, "; ".join(_sentences(devices, plugins)))


def _sentences(devices: list[str], plugins: list[str]) -> Iterator[str]:
    if plugins:
        yield f"plugins that cannot look at their hardware: {_some(plugins)}"
    if devices:
        yield f"unhealthy devices: {_some(devices)}"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


class NodeCondition:
    """An observer, and the task ``run``. Make it inside the trio loop. ``kind`` is the condition's type."""

    def __init__(
        self,
        api: Api,
        node: str,
        kind: str,
        status: Callable[[], Status],
        owner: Callable[[], bool],
        troubles: Troubles,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._api = api
        self._node = node
        self._kind = kind
        self._status = status
        self._owner = owner
        self._troubles = troubles
        self._wall = wall
        self._wake = WakeUp()
        self._written: Verdict | None = None
        self._written_at = -math.inf
        self._stored: str | None = None
        """The status that the server has, empty for none; ``None`` while that is not known."""

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, _CONCERNED):
            self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wait_until_due()
            verdict = judge(self._status())
            try:
                await self._write(verdict)
            except ApiUnavailable:
                continue  # the client waits before it asks again
            except ApiRefused as error:
                self._troubles.tell(ABOUT, str(error))
                await trio.sleep(REFUSED_PAUSE)
            else:
                self._troubles.over(ABOUT)
                self._written, self._written_at = verdict, trio.current_time()

    async def _wait_until_due(self) -> None:
        """Until a change has lasted, or the heartbeat is due; and until it is ours to write it."""
        with trio.move_on_at(self._written_at + HEARTBEAT):
            while True:
                while judge(self._status()) == self._written:
                    await self._wake.wait()
                await trio.sleep(HOLD)
                if judge(self._status()) != self._written:
                    break
        while not (self._owner() and self._status().started):
            await self._wake.wait()

    async def _write(self, verdict: Verdict) -> None:
        if self._stored is None:
            self._stored = await self._stored_status()
        now = timestamp(self._wall())
        condition: dict[str, Any] = {
            "type": self._kind,
            "status": verdict.status,
            "reason": verdict.reason,
            "message": verdict.message,
            "lastHeartbeatTime": now,
        }
        if verdict.status != self._stored:
            condition["lastTransitionTime"] = now  # else the merge keeps what is there
        path = path_of("nodes", self._node) + "/status"
        await self._api.request("PATCH", path, Stored, {"status": {"conditions": [condition]}})
        self._stored = verdict.status

    async def _stored_status(self) -> str:
        """What an earlier process has written."""
        node = await self._api.request("GET", path_of("nodes", self._node), Node)
        return next((one.status for one in node.status.conditions if one.type == self._kind), "")

"""Event objects: what one says, and that one which comes again is counted in the object that is there.

The core ``v1`` shape, since ``kubectl describe`` finds these by ``involvedObject`` alone. A node's Events are in the namespace
``default`` and have the node's name as its UID: so does the kubelet, and so ``kubectl describe node`` looks for them.
"""

import zlib
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from supervisor.cluster.api import Api, ApiRefused, Stored, path_of
from supervisor.cluster.happenings import Happening

COMPONENT = "device-plugin-supervisor"
SAME = 600.0
"""Seconds in which what comes again is counted in the object that is there."""
MOST_OBJECTS = 256
"""Objects that are remembered for that."""
NODE_NAMESPACE = "default"


class Involved(Struct, frozen=True, rename="camel"):
    """The object that an Event is about, as its ``involvedObject``."""

    kind: str
    name: str
    uid: str
    namespace: str = ""
    api_version: str = "v1"

    @classmethod
    def node(cls, name: str) -> "Involved":
        return cls("Node", name, name)


class _Known(Struct, frozen=True):
    """An object that was written."""

    name: str
    count: int
    told_at: float


class Recorder:
    """Writes Events by one reporter. ``instance`` is this pod's name, or the node's."""

    def __init__(self, api: Api, node: str, instance: str) -> None:
        self._api = api
        self._node = node
        self._instance = instance
        self._known: OrderedDict[tuple[Involved, str, str], _Known] = OrderedDict()

    async def record(self, about: Involved, what: Happening) -> None:
        """Write an Event, or count it. May be done again after ``ApiUnavailable``. Raises also ``ApiRefused``."""
        key = (about, what.reason, what.similar or what.message)
        known = self._known.get(key)
        if known is not None and what.at - known.told_at <= SAME:
            counted = _Known(known.name, known.count + what.times, what.at)
            if await self._count(about, counted, what.message):
                self._remember(key, counted)
                return
        await self._create(about, what)
        self._remember(key, _Known(_name(about, what), what.times, what.at))

    async def _count(self, about: Involved, known: _Known, message: str) -> bool:
        """Whether the object is still there."""
        path = path_of("events", known.name, about.namespace or NODE_NAMESPACE)
        changes = {"count": known.count, "lastTimestamp": timestamp(known.told_at), "message": message}
        try:
            await self._api.request("PATCH", path, Stored, changes)
        except ApiRefused as error:
            if error.status == 404:
                return False
            raise
        return True

    async def _create(self, about: Involved, what: Happening) -> None:
        path = path_of("events", "", about.namespace or NODE_NAMESPACE)
        try:
            await self._api.request("POST", path, Stored, self._object(about, what))
        except ApiRefused as error:
            if error.status != 409:  # written already; only the answer was lost
                raise

    def _object(self, about: Involved, what: Happening) -> dict[str, Any]:
        at = timestamp(what.at)
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": _name(about, what), "namespace": about.namespace or NODE_NAMESPACE},
            "involvedObject": about,
            "type": "Warning" if what.reason.bad else "Normal",
            "reason": str(what.reason),
            "message": what.message,
            "count": what.times,
            "firstTimestamp": at,
            "lastTimestamp": at,
            "source": {"component": COMPONENT, "host": self._node},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._instance,
        }

    def _remember(self, key: tuple[Involved, str, str], known: _Known) -> None:
        self._known[key] = known
        self._known.move_to_end(key)
        if len(self._known) > MOST_OBJECTS:
            self._known.popitem(last=False)


def _name(about: Involved, what: Happening) -> str:
    """Unique, and the same whenever this happening is told of this object. A name has 253 characters at most."""
    mark = zlib.crc32(repr((what.subject, what.reason)).encode())
    return f"{about.name[:220].rstrip('.-')}.{round(what.at * 1e9):x}{mark:08x}"


def timestamp(at: float) -> str:
    """UNIX seconds as the API writes them."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

"""What of the Kubernetes API is switched on, as one observer and one task."""

import os
import time
from collections.abc import Callable, Mapping

import trio

from supervisor.cluster.account import Account
from supervisor.cluster.api import Troubles
from supervisor.cluster.client import ApiClient
from supervisor.cluster.condition import NodeCondition
from supervisor.cluster.facts import NodeReader
from supervisor.cluster.reporter import Holders, Reporter
from supervisor.config import KubernetesConfig
from supervisor.events import Event, Observer
from supervisor.model import NodeFacts
from supervisor.status import Status

ABOUT = "node name"


class Cluster:
    """Make it inside the trio loop, hand it each event, and run ``run``. What is not switched on does not exist in it.

    - ``status``: the picture of now, drawn before this observer is called.
    - ``holders``: who holds a device. ``owner``: whether this process owns the node; it is asked in the trio loop.
    - ``facts_changed``: called in the trio loop with what is known of the node, when that is first read and when it changes.
    """

    def __init__(
        self,
        config: KubernetesConfig,
        *,
        status: Callable[[], Status],
        holders: Holders,
        owner: Callable[[], bool],
        observe: Observer,
        facts_changed: Callable[[NodeFacts], None],
        account: Account | None = None,
        environ: Mapping[str, str] = os.environ,
        wall: Callable[[], float] = time.time,
    ) -> None:
        node = config.node_name or environ.get("NODE_NAME", "")
        self._troubles = troubles = Troubles(observe)
        self._client = client = ApiClient(account or Account(environ=environ), troubles)
        self._named = bool(node)
        self._reporter: Reporter | None = None
        self._condition: NodeCondition | None = None
        self._reader: NodeReader | None = None
        if node and config.events:
            self._reporter = Reporter(client, node, environ.get("POD_NAME") or node, holders, owner, troubles, wall)
        if node and config.node_condition:
            self._condition = NodeCondition(client, node, config.node_condition, status, owner, troubles, wall)
        if node and config.node_info:
            self._reader = NodeReader(client, node, facts_changed, troubles)

    def __call__(self, event: Event) -> None:
        for observer in (self._reporter, self._condition):
            if observer is not None:
                observer(event)

    async def run(self) -> None:
        """Until cancelled. Without a cluster, or without permission, it tries again and says so."""
        if not self._named:
            self._troubles.tell(ABOUT, "neither kubernetes.nodeName nor the variable NODE_NAME says which node this is")
            return
        async with self._client, trio.open_nursery() as nursery:
            for part in (self._reporter, self._condition, self._reader):
                if part is not None:
                    nursery.start_soon(part.run)

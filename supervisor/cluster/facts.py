"""What the cluster knows of this node: its labels, and the versions of its kubelet and its container runtime."""

import random
from collections.abc import Callable

import trio

from supervisor.cluster.api import Api, ApiRefused, ApiUnavailable, Node, Troubles, path_of
from supervisor.cluster.reporter import REFUSED_PAUSE
from supervisor.model import NodeFacts

PERIOD = 600.0
"""Seconds between two readings: a label changes rarely, a version with the node's restart."""
ABOUT = "node information"


class NodeReader:
    """The task ``run`` keeps ``current``; ``changed`` is called in its loop whenever that differs from what was read before."""

    def __init__(self, api: Api, node: str, changed: Callable[[NodeFacts], None], troubles: Troubles) -> None:
        self._api = api
        self._node = node
        self._changed = changed
        self._troubles = troubles
        self.current: NodeFacts | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                found = _facts(await self._api.request("GET", path_of("nodes", self._node), Node))
            except ApiUnavailable:
                continue  # the client waits before it asks again
            except ApiRefused as error:
                self._troubles.tell(ABOUT, str(error))
                await trio.sleep(REFUSED_PAUSE)
                continue
            self._troubles.over(ABOUT)
            if found != self.current:
                self.current = found
                self._changed(found)
            await trio.sleep(PERIOD * random.uniform(0.9, 1.1))  # noqa: S311  # spreads load only


def _facts(node: Node) -> NodeFacts:
    info = node.status.node_info
    return NodeFacts(
        name=node.metadata.name,
        labels=dict(node.metadata.labels),
        container_runtime_version=info.container_runtime_version,
        kubelet_version=info.kubelet_version,
        kernel_version=info.kernel_version,
        os_image=info.os_image,
        architecture=info.architecture,
    )

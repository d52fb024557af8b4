"""Tells the cluster what happens to the devices of this node: Events on the node, and on the pods that hold a device.

Observing costs nothing but memory, and that is bounded. One task tells; it makes no more requests than its bucket allows, so a
storm becomes sums. Only the owner of the node tells anything: a process that stands by has seen the same.
"""

import time
from collections.abc import Awaitable, Callable
from itertools import islice

import trio

from supervisor.cluster.api import Api, ApiRefused, ApiUnavailable, Pod, Troubles, path_of
from supervisor.cluster.backlog import Backlog, Bucket
from supervisor.cluster.happenings import Happening, Happenings
from supervisor.cluster.recorder import Involved, Recorder
from supervisor.events import Event
from supervisor.ledger import Holding
from supervisor.wakeup import WakeUp

REFUSED_PAUSE = 60.0
"""Seconds until a permission that is missing is tried again."""
POD_PATIENCE = 60.0
"""Seconds after which nobody is told any more that his device changed: another pod may hold it by now."""
MOST_PODS = 8
"""Pods that are told of one device; a shared one may have many."""
ABOUT = "Events"
ABOUT_PODS = "Events on pods"

Holders = Callable[[str, str], Awaitable[tuple[Holding, ...]]]
"""Who holds this device of this resource, as far as it is known."""


class Reporter:
    """An observer, and the task ``run``. Make it inside the trio loop. ``owner`` says whether this process is to tell."""

    def __init__(
        self,
        api: Api,
        node: str,
        instance: str,
        holders: Holders,
        owner: Callable[[], bool],
        troubles: Troubles,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._api = api
        self._node = node
        self._holders = holders
        self._owner = owner
        self._troubles = troubles
        self._wall = wall
        self._recorder = Recorder(api, node, instance)
        self._happenings = Happenings(wall)
        self._backlog = Backlog()
        self._bucket = Bucket(trio.current_time())
        self._wake = WakeUp()

    def __call__(self, event: Event) -> None:
        happening = self._happenings.of(event)
        if happening is not None and self._owner():
            self._backlog.add(happening)
            self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            while not self._backlog:
                await self._wake.wait()
            waited = await self._wait_for_bucket()
            if self._owner():
                await self._tell(self._backlog.take(sum_up=waited))
            else:
                self._backlog.clear()

    async def _wait_for_bucket(self) -> bool:
        """Whether that took time."""
        waited = False
        while not self._bucket.take(trio.current_time()):
            waited = True
            await trio.sleep(self._bucket.wait(trio.current_time()))
        return waited

    async def _tell(self, what: Happening) -> None:
        try:
            await self._recorder.record(Involved.node(self._node), what)
        except ApiUnavailable:
            self._backlog.put_back(what)
        except ApiRefused as error:
            self._troubles.tell(ABOUT, str(error))
            if error.status == 403:
                self._backlog.put_back(what)
                await trio.sleep(REFUSED_PAUSE)
        else:
            self._troubles.over(ABOUT)
            await self._tell_holders(what)

    async def _tell_holders(self, what: Happening) -> None:
        """Tell the pods, once: what they cannot be told now they are never told; the node has it."""
        if not what.device or self._wall() - what.at > POD_PATIENCE:
            return
        holdings = await self._holders(what.resource, what.device)
        # The kubelet's checkpoint knows pods by UID alone; without a name none can be looked up.
        pods = dict.fromkeys((holding.namespace, holding.pod) for holding in holdings if holding.namespace)
        for namespace, name in islice(pods, MOST_PODS):
            try:
                await self._tell_pod(namespace, name, what)
            except ApiUnavailable:
                return
            except ApiRefused as error:
                if error.status != 404 and not error.ending:
                    self._troubles.tell(ABOUT_PODS, str(error))
                    return
            else:
                self._troubles.over(ABOUT_PODS)

    async def _tell_pod(self, namespace: str, name: str, what: Happening) -> None:
        if not self._bucket.take(trio.current_time()):
            return
        pod = await self._api.request("GET", path_of("pods", name, namespace), Pod)
        if pod.spec.node_name == self._node and self._bucket.take(trio.current_time()):
            await self._recorder.record(Involved("Pod", name, pod.metadata.uid, namespace), what)

"""A wire thread on real sockets, and a plain grpc client in the kubelet's place."""

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from supervisor.calls import PluginCalls
from supervisor.feed import Feed
from supervisor.inventory import Inventory
from supervisor.kubelet.protos import DEVICE_PLUGIN_SERVICE
from supervisor.kubelet.protos import deviceplugin_pb2 as pb
from supervisor.kubelet.tenancies import Tenancies
from supervisor.kubelet.wire import Wire
from supervisor.levels import Level
from supervisor.model import Device
from supervisor.slots import Slots

SOON = 10.0
"""Seconds after which a test takes an event that has not come for one that never will."""
WIDGET = "example.com/widget"

_METHODS: dict[str, tuple[Any, Any]] = {
    "GetDevicePluginOptions": (pb.Empty, pb.DevicePluginOptions),
    "Allocate": (pb.AllocateRequest, pb.AllocateResponse),
    "GetPreferredAllocation": (pb.PreferredAllocationRequest, pb.PreferredAllocationResponse),
    "PreStartContainer": (pb.PreStartContainerRequest, pb.PreStartContainerResponse),
}


@contextmanager
def short_directory() -> Iterator[Path]:
    """A directory with a short name: socket paths end at 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="wr-", dir="/tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class Client:
    """What a kubelet can ask of a plugin at one socket."""

    def __init__(self, path: Path) -> None:
        self.channel = grpc.insecure_channel(f"unix:{path}", options=(("grpc.use_local_subchannel_pool", 1),))

    def _call(self, method: str, request: Any) -> Any:
        kind, answer = _METHODS[method]
        call = self.channel.unary_unary(
            f"/{DEVICE_PLUGIN_SERVICE}/{method}",
            request_serializer=kind.SerializeToString,
            response_deserializer=answer.FromString,
        )
        return call(request, timeout=SOON)

    def future(self, device_ids: Iterable[str]) -> Any:
        """An ``Allocate`` under way."""
        call = self.channel.unary_unary(
            f"/{DEVICE_PLUGIN_SERVICE}/Allocate",
            request_serializer=pb.AllocateRequest.SerializeToString,
            response_deserializer=pb.AllocateResponse.FromString,
        )
        return call.future(_allocation([tuple(device_ids)]), timeout=SOON)

    def options(self) -> Any:
        return self._call("GetDevicePluginOptions", pb.Empty())

    def allocate(self, *containers: Iterable[str]) -> Any:
        """One container for each argument."""
        return self._call("Allocate", _allocation(containers)).container_responses

    def prefer(self, available: Iterable[str], must_include: Iterable[str], size: int) -> list[str]:
        asked = pb.ContainerPreferredAllocationRequest(
            available_deviceIDs=available, must_include_deviceIDs=must_include, allocation_size=size
        )
        answer = self._call("GetPreferredAllocation", pb.PreferredAllocationRequest(container_requests=[asked]))
        return list(answer.container_responses[0].deviceIDs)

    def pre_start(self, *device_ids: str) -> Any:
        return self._call("PreStartContainer", pb.PreStartContainerRequest(devices_ids=device_ids))

    def stream(self) -> Any:
        """``ListAndWatch``; iterate for messages."""
        call = self.channel.unary_stream(
            f"/{DEVICE_PLUGIN_SERVICE}/ListAndWatch",
            request_serializer=pb.Empty.SerializeToString,
            response_deserializer=pb.ListAndWatchResponse.FromString,
        )
        return call(pb.Empty(), timeout=6 * SOON)


def _allocation(containers: Iterable[Iterable[str]]) -> pb.AllocateRequest:
    return pb.AllocateRequest(container_requests=[pb.ContainerAllocateRequest(devices_ids=each) for each in containers])


def ids(message: Any) -> list[str]:
    """The ids of one ``ListAndWatchResponse``."""
    return [device.ID for device in message.devices]


class Rig:
    """A wire thread, resources that it serves, and a way to wait for its levels."""

    def __init__(self, directory: Path, tenancies: Tenancies | None = None) -> None:
        self.directory = directory
        self._news = threading.Condition()
        self.wire = Wire(self._changed, tenancies)
        self.wire.start()
        self.slots: list[Slots] = []
        self.clients: list[Client] = []

    def _changed(self) -> None:
        with self._news:
            self._news.notify_all()

    def wait(self, fact: Callable[[], Any]) -> None:
        """Until the fact holds, looked at after each change."""
        with self._news:
            assert self._news.wait_for(fact, SOON), f"{self.wire.levels()} {self.wire.failure}"

    @staticmethod
    def wait_while(fact: Callable[[], bool]) -> None:
        """Until a call's answer is another one; asks again and again."""
        deadline = time.monotonic() + SOON
        while fact():
            assert time.monotonic() < deadline

    def level(self, resource: str = WIDGET) -> Level:
        return self.wire.levels().get(resource, Level())

    def calls(self, plugin: object, **timeouts: Any) -> PluginCalls:
        slots, starts = Slots(f"slots-{len(self.slots)}", 2), Slots(f"starts-{len(self.slots)}", 2)
        self.slots += [slots, starts]
        return PluginCalls(plugin, slots, starts, **timeouts)

    def offer(
        self,
        devices: Iterable[Device],
        plugin: object = None,
        resource: str = WIDGET,
        *,
        pre_start: bool = False,
        **timeouts: float,
    ) -> Feed:
        """Serve a resource at a socket of its own, and wait until it is there."""
        feed = Feed(resource)
        feed.publish(Inventory.of(resource, devices, pre_start_required=pre_start))
        self.wire.open(feed, self.calls(plugin, **timeouts))
        self.wire.bind(resource, self.path(resource))
        self.wait(lambda: self._serves(feed))
        return feed

    def _serves(self, feed: Feed) -> bool:
        service = self.wire._services.get(feed.resource)
        return (
            service is not None
            and service.servicer.feed is feed
            and service.servicer.level.bound
            and service.servicer.level.listed
        )

    def path(self, resource: str = WIDGET) -> Path:
        return self.directory / f"{resource.partition('/')[2]}.sock"

    def client(self, resource: str = WIDGET) -> Client:
        self.clients.append(Client(self.path(resource)))
        return self.clients[-1]

    def close(self) -> None:
        for client in self.clients:
            client.channel.close()
        self.wire.stop(SOON)
        for slots in self.slots:
            slots.close()

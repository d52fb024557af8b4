"""What may be asked of the Kubernetes API, how it can fail, and the parts of its objects that are read here.

Every object may have more fields than these, and does. Source: the API reference of ``v1``.
"""

from collections.abc import Mapping
from typing import Protocol, TypeVar
from urllib.parse import quote

from msgspec import Struct

from supervisor.errors import SupervisorError
from supervisor.events import ClusterReachable, ClusterUnavailable, Observer

T = TypeVar("T")

SERVER = "API server"
"""What ``ClusterUnavailable`` is about when nothing works; else it names a part."""


class ApiUnavailable(SupervisorError):
    """No usable answer. The same request may work later; the client waits for a while before it makes another one."""


class ApiRefused(SupervisorError):
    """The server has understood and says no. The same request fails again until somebody changes something in the cluster."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def ending(self) -> bool:
        """Whether it is only that the namespace is being deleted. The server says so in words and a cause, under status 403."""
        return self.status == 403 and "because it is being terminated" in str(self)


class Api(Protocol):
    """One API server, as seen by those who use it."""

    async def request(self, method: str, path: str, into: type[T], body: object = None) -> T:
        """The answer to one request. A ``PATCH`` is a strategic merge. Raises ``ApiUnavailable`` or ``ApiRefused``."""
        ...


def path_of(kind: str, name: str = "", namespace: str = "") -> str:
    """Where objects of a kind, like ``pods``, are found."""
    start = f"/api/v1/namespaces/{quote(namespace, safe='')}" if namespace else "/api/v1"
    return f"{start}/{kind}/{quote(name, safe='')}" if name else f"{start}/{kind}"


class _Read(Struct, frozen=True, rename="camel"):
    """Part of an object as the server gives it."""


class Metadata(_Read, frozen=True):
    name: str
    uid: str = ""
    labels: Mapping[str, str] = {}


class Stored(_Read, frozen=True):
    """Any object that has been written."""

    metadata: Metadata


class PodSpec(_Read, frozen=True):
    node_name: str = ""


class Pod(_Read, frozen=True):
    metadata: Metadata
    spec: PodSpec


class NodeInfo(_Read, frozen=True):
    """What the kubelet says of its node."""

    container_runtime_version: str = ""
    kubelet_version: str = ""
    kernel_version: str = ""
    os_image: str = ""
    architecture: str = ""


class Condition(_Read, frozen=True):
    type: str
    status: str


class NodeStatus(_Read, frozen=True):
    node_info: NodeInfo = NodeInfo()
    conditions: tuple[Condition, ...] = ()


class Node(_Read, frozen=True):
    metadata: Metadata
    status: NodeStatus = NodeStatus()


class Troubles:
    """Tells what does not work, and that it works again, once each."""

    def __init__(self, observe: Observer) -> None:
        self._observe = observe
        self._told: dict[str, str] = {}

    def tell(self, about: str, reason: str) -> None:
        if self._told.get(about) != reason:
            self._told[about] = reason
            self._observe(ClusterUnavailable(about, reason))

    def over(self, about: str) -> None:
        if self._told.pop(about, None) is not None:
            self._observe(ClusterReachable(about))

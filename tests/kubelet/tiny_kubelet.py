"""The least kubelet: it takes a registration, dials back, reads the options and keeps one list stream."""

import contextlib
import threading
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc

from supervisor.kubelet.protos import REGISTRATION_SERVICE
from supervisor.kubelet.protos import deviceplugin_pb2 as pb
from tests.kubelet.rig import SOON, Client, ids


class TinyKubelet:
    """One life, from its start to ``stop``. Lists and requests are kept for the test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "kubelet.sock"
        self.requests: list[pb.RegisterRequest] = []
        self.lists: dict[str, list[str]] = {}
        self.options: dict[str, pb.DevicePluginOptions] = {}
        self.refusal = ""
        self.hangs_up = False
        """Whether each stream is ended as soon as its first list has come."""
        self._clients: list[Client] = []
        self._threads: list[threading.Thread] = []
        self.path.unlink(missing_ok=True)
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        handler = grpc.unary_unary_rpc_method_handler(self._register, pb.RegisterRequest.FromString, pb.Empty.SerializeToString)
        handlers = grpc.method_handlers_generic_handler(REGISTRATION_SERVICE, {"Register": handler})
        self._server.add_generic_rpc_handlers((handlers,))
        self._server.add_insecure_port(f"unix:{self.path}")
        self._server.start()

    def _register(self, request: pb.RegisterRequest, context: Any) -> pb.Empty:
        self.requests.append(request)
        if self.refusal:
            context.abort(grpc.StatusCode.UNKNOWN, self.refusal)
        client = Client(self.directory / request.endpoint)
        self._clients.append(client)
        try:
            self.options[request.resource_name] = client.options()
        except grpc.RpcError as error:
            context.abort(grpc.StatusCode.UNKNOWN, f"failed to dial device plugin: {error}")
        thread = threading.Thread(target=self._watch, args=(request.resource_name, client))
        self._threads.append(thread)
        thread.start()
        return pb.Empty()

    def _watch(self, resource: str, client: Client) -> None:
        stream = client.stream()
        with contextlib.suppress(grpc.RpcError, ValueError):  # the plugin ended, or this kubelet does
            for message in stream:
                self.lists[resource] = ids(message)
                if self.hangs_up:
                    stream.cancel()

    def endpoints(self, resource: str) -> list[str]:
        """Where this resource has registered, in turn."""
        return [request.endpoint for request in self.requests if request.resource_name == resource]

    def stop(self) -> None:
        """End every stream, and take the socket away."""
        self._server.stop(None).wait(SOON)
        for client in self._clients:
            client.channel.close()
        for thread in self._threads:
            thread.join(SOON)

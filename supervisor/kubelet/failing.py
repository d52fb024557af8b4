"""How a call that fails is told: to the kubelet by a status with a short text, and to the metrics by a word."""

from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from supervisor.errors import AllocationRefused, PluginFailed, UnhealthyDevice, UnknownDevice

if TYPE_CHECKING:  # grpc's classes are generic in its stubs only
    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
else:
    Context = grpc.aio.ServicerContext

_MAX_DETAIL = 512
"""Characters of an error's text: the kubelet copies it into the pod's status."""

_STATUS = {
    UnknownDevice: grpc.StatusCode.NOT_FOUND,
    UnhealthyDevice: grpc.StatusCode.FAILED_PRECONDITION,
    AllocationRefused: grpc.StatusCode.FAILED_PRECONDITION,
    PluginFailed: grpc.StatusCode.INTERNAL,
    TimeoutError: grpc.StatusCode.DEADLINE_EXCEEDED,
}
_OUTCOME = {PluginFailed: "failed", TimeoutError: "timed_out"}


def outcome_of(error: Exception) -> str:
    """The word that counts an ``Allocate`` which ended so."""
    return _OUTCOME.get(type(error), "refused")


async def abort(context: Context, error: Exception) -> None:
    """End the call with the status that the error has. Never returns: grpc raises in here."""
    status = next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), grpc.StatusCode.INTERNAL)
    text = str(error)[:_MAX_DETAIL].encode(errors="replace").decode()  # names of files may hold what is no text
    await context.abort(status, text)

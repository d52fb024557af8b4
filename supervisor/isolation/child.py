"""The process of an isolated plugin package: ``python -m supervisor.isolation.child CONTROL LIFELINE NAME``.

It loads one package and serves each connection that it is given in a thread. ``CONTROL`` is a socket for the start and for new
connections; ``LIFELINE`` is a pipe whose other end only the supervisor holds. The name is there for people who list processes.
"""

import contextlib
import hashlib
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, NoReturn

import msgspec

from supervisor.border import framing
from supervisor.border.child import failure, limit_memory, serve_connections, take_over_descriptors
from supervisor.border.messages import Answer, Failure
from supervisor.contract import describe
from supervisor.families import MOST_FAMILIES, MOST_SAMPLES
from supervisor.findings import MOST_FINDINGS
from supervisor.inventory import MAX_DEVICES
from supervisor.isolation import frames
from supervisor.isolation.remembering import Remote
from supervisor.leftovers import MOST_LEFTOVERS
from supervisor.memory import PackageMemory
from supervisor.model import MetricFamily
from supervisor.plugins import load_objects

METHODS = (
    "watch", "allocate", "preferred_allocation", "pre_start", "notices", "explain", "examine",
    "leftovers", "take_over", "learn_node", "collect_metrics",
)  # fmt: skip
"""What a plugin may be able to do, each named as its method."""


def main() -> NoReturn:
    """Serve until the supervisor closes the connection or ends."""
    control = take_over_descriptors()
    start = msgspec.msgpack.decode(framing.receive(control), type=frames.Start)
    limit_memory(start.memory)
    remote = Remote(start.recalled)
    plugins = _load(start, control, remote)
    serve_connections(control, lambda connection: _serve(connection, plugins, remote))


def _load(start: frames.Start, control: socket.socket, remote: Remote) -> Mapping[str, Any]:
    try:
        made = load_objects(start.package, start.section, start.host, PackageMemory(remote))
        plugins = {plugin.name: plugin for plugin in made.plugins}
        infos = tuple(
            frames.PluginInfo(name, _subsystems(plugin), frozenset(each for each in METHODS if hasattr(plugin, each)))
            for name, plugin in plugins.items()
        )
        refused = tuple((each.plugin, each.reason) for each in made.refused)
        framing.send(control, frames.Started(infos, refused, made.remembers))
    except BaseException as error:  # noqa: BLE001 - loading runs code of the package
        framing.send(control, _failure(error))
        os._exit(1)
    return plugins


def _failure(error: BaseException) -> Failure:
    return failure(error, describe)


def _serve(connection: socket.socket, plugins: Mapping[str, Any], remote: Remote) -> None:
    last_look = b""
    while True:
        request = msgspec.msgpack.decode(framing.receive(connection), type=frames.Request | frames.Remember)
        if isinstance(request, frames.Remember):
            remote.connect(connection.dup())
            return
        plugin = plugins[request.plugin]
        if isinstance(request, frames.Watch):
            _watch(connection, plugin)
            return
        reply = _reply(plugin, request)
        if isinstance(request, frames.Discover) and isinstance(reply, Answer):
            digest = hashlib.blake2b(reply.value).digest()
            reply, last_look = (frames.Unchanged() if digest == last_look else reply), digest
        framing.send(connection, reply)


def _reply(plugin: Any, request: frames.Request) -> Answer | frames.Unchanged | Failure:
    try:
        answer = _encoded(_call(plugin, request))
        if len(answer) > framing.MAX_ANSWER:
            raise ValueError(f"the answer has {len(answer)} bytes; the limit is {framing.MAX_ANSWER}")
        return Answer(msgspec.Raw(answer))
    except BaseException as error:  # noqa: BLE001 - plugin code may raise anything
        return _failure(error)


def _encoded(value: object) -> bytes:
    try:
        return msgspec.msgpack.encode(value, enc_hook=_nameless)
    except (TypeError, ValueError, OverflowError, RecursionError):
        if not isinstance(value, frames.Seen):
            raise
    # A text or number that no message can hold: it costs that device, not the look.
    resources = {
        name: [_sendable(device) for device in devices] if isinstance(devices, list) else devices
        for name, devices in value.resources.items()
    }
    return msgspec.msgpack.encode(msgspec.structs.replace(value, resources=resources), enc_hook=_nameless)


def _sendable(device: object) -> object:
    try:
        msgspec.msgpack.encode(device, enc_hook=_nameless)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return _nameless(device)
    return device


def _call(plugin: Any, request: frames.Request) -> object:
    match request:
        case frames.Discover():
            return _look(plugin)
        case frames.Explain():
            return tuple(plugin.explain(request.text))
        case frames.Examine() | frames.Leftovers():
            return _reported(plugin, request)
        case frames.Allocate():
            return plugin.allocate(request.resource, request.devices, request.edits)
        case frames.PreferredAllocation():
            return plugin.preferred_allocation(request.resource, request.available, request.must_include, request.size)
        case frames.PreStart():
            return plugin.pre_start(request.resource, request.devices)
        case frames.TakeOver():
            plugin.take_over()
        case frames.LearnNode():
            plugin.learn_node(request.node)
        case frames.CollectMetrics():
            return _measured(plugin)
        case _:
            raise TypeError(f"{type(request).__name__} has no answer")
    return None


def _look(plugin: Any) -> frames.Seen:
    found = plugin.discover()
    if not isinstance(found, Mapping):
        raise TypeError(f"discover() must return a mapping of resource name to devices, not {type(found).__name__}")
    resources = {name: _listed(devices) for name, devices in found.items()}
    asks = hasattr(plugin, "pre_start_required")
    required = {name: _or_error(plugin.pre_start_required, name) for name in resources if asks and isinstance(name, str)}
    notices = _or_error(lambda: tuple(plugin.notices())) if hasattr(plugin, "notices") else ()
    return frames.Seen(resources, _subsystems(plugin), required, notices)


def _reported(plugin: Any, request: frames.Examine | frames.Leftovers) -> object:
    if isinstance(request, frames.Examine):
        return _sendable_first(plugin.examine(), MOST_FINDINGS)
    return _sendable_first(plugin.leftovers(request.held), MOST_LEFTOVERS)


def _sendable_first(found: object, most: int) -> object:
    """A list, one longer than allowed at most, of what a message can hold."""
    if isinstance(found, str | bytes | Mapping) or not isinstance(found, Iterable):
        return found
    return [_sendable(each) for each in islice(found, most + 1)]


def _measured(plugin: Any) -> object:
    found = plugin.collect_metrics()
    if isinstance(found, str | bytes | Mapping) or not isinstance(found, Iterable):
        return found
    return [_sendable_family(each) for each in islice(found, MOST_FAMILIES + 1)]


def _sendable_family(family: object) -> object:
    """What no message can hold costs that sample, where it is one."""
    sendable = _sendable(family)
    if sendable is family or not (isinstance(family, MetricFamily) and isinstance(family.samples, tuple | list)):
        return sendable
    samples = tuple(_sendable(sample) for sample in family.samples[: MOST_SAMPLES + 1])
    return _sendable(msgspec.structs.replace(family, samples=samples))


def _listed(devices: object) -> object:
    """A list, one longer than allowed at most; what is no collection of devices stays what it is, for the complaint."""
    return list(islice(devices, MAX_DEVICES + 1)) if isinstance(devices, Iterable) and not isinstance(devices, str) else devices


def _subsystems(plugin: Any) -> tuple[str, ...]:
    return tuple(str(each) for each in plugin.udev_subsystems)


def _or_error(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - one question that fails must not spoil the look
        return describe(error)


def _nameless(value: object) -> str:
    """What stands for a value that no message can hold: never a device, so it is refused by itself where it is used."""
    return f"<{type(value).__name__}>"


def _watch(connection: socket.socket, plugin: Any) -> None:
    import trio

    def look_again() -> None:
        with contextlib.suppress(OSError):  # full: a look is asked for already; closed: nobody cares any more
            connection.send(frames.LOOK_AGAIN, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    async def watch() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_until_closed, nursery.cancel_scope)
            await plugin.watch(look_again)
            nursery.cancel_scope.cancel()

    async def _until_closed(scope: trio.CancelScope) -> None:
        await trio.lowlevel.wait_readable(connection)
        scope.cancel()

    why = ""
    try:
        trio.run(watch)
    except BaseException as error:  # noqa: BLE001 - plugin code may raise anything
        why = _failure(_alone(error)).text
    connection.setblocking(True)
    connection.sendall(frames.ENDED + why.encode()[:1024])


def _alone(error: BaseException) -> BaseException:
    """The one error of a group of one: the nursery wraps what the plugin raised."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


if __name__ == "__main__":
    main()

"""A kubelet to hold a device plugin against: real sockets, real processes, and the kubelet's real faults.

The behaviour follows the published kubelet sources from 1.20 to 1.37 and what real kubelets were seen to do. Use it
from any thread of any program; the kubelet itself runs in a process of its own, so that SIGKILL is real::

    with KubeletSimulator(Path("/tmp/node"), era="1.37") as kubelet:
        ...  # start a plugin that registers at kubelet.paths.socket
        kubelet.wait_devices("example.com/widget", {"w0": "Healthy"})
        pod = kubelet.add_pod("first", {"example.com/widget": 1})
        assert pod.admitted, pod.message
        kubelet.restart()                    # another kubelet, milliseconds later
        kubelet.inject(Fault.RESET_CONNECTION, resource="example.com/widget")

For people, ``python -m supervisor.kubelet.simulator --root /tmp/node --era 1.20`` runs it in the foreground and prints
what happens.

What it is: registration, dial-back, list streams, admission, allocation without topology hints, container starts,
podresources and the checkpoint, with the kubelet's own error texts. What it is not: there is no container runtime, so
no device node is opened and no path is checked. Times of the kubelet (the 10 s of a dial, 5 minutes of grace) can be
scaled (``time_scale``) or skipped (``advance``); all random orders come from ``seed``.

The caller's side, which imports no grpc:

    client         ``KubeletSimulator``, the handle
    process        the child process and its channel
    witness        logs and waits, over ``events``: what happened, with exact times
    eras           which kubelet to be, switch by switch
    faults         the menu of what can go wrong
    pods results settings errors    the values that go in and come out

The kubelet's side, one asyncio loop in the child:

    __main__ control    the command and the JSON lines of the channel
    node           the directories, pods and clock, and one kubelet life after the other
    kubelet        one life, from its start to its end
    registration   what ``Register`` does, era by era, bugs included
    plugin_client  the connection to one plugin
    manager        devices, endpoints, capacity; ``checkpoint`` and ``pod_devices`` are what it saves
    pod_workers    pods let in one by one, containers started
    admission      which devices a pod gets, and with which calls
    pod_resources  the podresources service
    injection      the faults, done
    measure        latencies and steady loads
    listener cleanup cluster clock names    what these stand on
"""

from supervisor.kubelet.simulator.client import KubeletSimulator
from supervisor.kubelet.simulator.eras import ERAS, Cleanup, Era, RegisterStyle
from supervisor.kubelet.simulator.errors import (
    KubeletDownError,
    KubeletStartError,
    NotFoundError,
    PluginCallError,
    SimulatorError,
)
from supervisor.kubelet.simulator.events import Event, EventKind, EventLog
from supervisor.kubelet.simulator.faults import Fault
from supervisor.kubelet.simulator.pods import (
    ContainerState,
    GrantedDevice,
    GrantedMount,
    Phase,
    PodState,
    RunOptions,
)
from supervisor.kubelet.simulator.results import (
    AdmissionLoadResult,
    AllocateLoadResult,
    FailedAdmission,
    Latencies,
)
from supervisor.kubelet.simulator.settings import Paths

__all__ = [
    "ERAS",
    "AdmissionLoadResult",
    "AllocateLoadResult",
    "Cleanup",
    "ContainerState",
    "Era",
    "Event",
    "EventKind",
    "EventLog",
    "FailedAdmission",
    "Fault",
    "GrantedDevice",
    "GrantedMount",
    "KubeletDownError",
    "KubeletSimulator",
    "KubeletStartError",
    "Latencies",
    "NotFoundError",
    "Paths",
    "Phase",
    "PluginCallError",
    "PodState",
    "RegisterStyle",
    "RunOptions",
    "SimulatorError",
]

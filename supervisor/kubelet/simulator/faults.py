"""The fault menu: everything that may happen to a device plugin, each under one name.

Two sorts. *Armed* faults lie in wait at a step of the next registration and strike once. *Immediate* faults are done to
the directory, the sockets or the kubelet when they are injected.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """All faults, with their parameters; ``seconds`` are real seconds.

    Faults that end the kubelet take ``sigkill`` (default False: only this life ends, the process stays) and
    ``restart_after`` (seconds until the next life of the same process begins; None, the default: stay dead).
    """

    DIE_BEFORE_DIAL = "die-before-dial"
    """Armed. The kubelet dies when it has received Register."""
    DIE_AFTER_OPTIONS = "die-after-options"
    """Armed. The kubelet dies when it knows the plugin's options and has not yet answered (from 1.25)."""
    DIE_BEFORE_FIRST_LIST = "die-before-first-list"
    """Armed. The kubelet dies when it is about to call ListAndWatch."""
    DIE_AFTER_FIRST_LIST = "die-after-first-list"
    """Armed. The kubelet dies when the first list has arrived."""
    SLOW_DIAL_BACK = "slow-dial-back"
    """Armed: ``seconds``. The kubelet waits before it dials."""
    REFUSED_DIAL_BACK = "refused-dial-back"
    """Armed: ``seconds`` (0). The dial fails after that time as if the plugin's socket had refused."""
    SLOW_OPTIONS = "slow-options"
    """Armed: ``seconds``. The kubelet waits between dial and GetDevicePluginOptions (from 1.25)."""
    LATE_ANSWER = "late-answer"
    """Armed: ``seconds``. All is done and ListAndWatch open, but Register is answered late."""

    DOUBLE_RESTART = "double-restart"
    """``seconds`` (0.002) between them. Two restarts in a row."""
    REFUSE_THEN_ACCEPT = "refuse-then-accept"
    """``seconds``. The kubelet dies, its stale socket refuses that long, then the next kubelet starts."""
    BIND_LISTEN_GAP = "bind-listen-gap"
    """``seconds``. A restart in which ``kubelet.sock`` appears and refuses that long before it listens."""
    SLOW_CLEANUP = "slow-cleanup"
    """``seconds`` after each deleted entry. A restart that cleans the directory slowly."""
    STALE_SOCKET = "stale-socket"
    """The kubelet dies and leaves a ``kubelet.sock`` that refuses."""
    SOCKET_IS_A_FILE = "socket-is-a-file"
    """The kubelet dies and ``kubelet.sock`` is a regular file. From 1.33 no kubelet starts until someone deletes it."""
    TWO_KUBELETS = "two-kubelets"
    """``times`` (2), ``seconds`` (0.05). New kubelets start beside the old one, which ends ``seconds`` later."""
    RESET_CONNECTION = "reset-connection"
    """``resource``. Only this plugin's connection is closed; the kubelet lives and does not dial again."""
    REMOVE_PLUGIN_SOCKET = "remove-plugin-socket"
    """``resource``. An administrator deletes the plugin's socket file; connections live on."""
    RECREATE_DIRECTORY = "recreate-directory"
    """``restart`` (True). ``rm -rf`` and ``mkdir`` of the device-plugins directory, then a kubelet restart."""
    REPLACE_DIRECTORY = "replace-directory"
    """``restart`` (True). An empty directory takes the device-plugins directory's name, then a kubelet restart."""
    CREATE_STORM = "create-storm"
    """``count`` (1000). Files appear in the directory and vanish again."""
    SLOW_READER = "slow-reader"
    """``resource``, ``seconds``. The kubelet does not read this plugin's lists for a while (flow control)."""
    CLOCK_JUMP = "clock-jump"
    """``seconds`` of the kubelet (301). The clock jumps over the grace period of stopped endpoints."""


class Step(StrEnum):
    """Where an armed fault strikes during a registration."""

    BEFORE_DIAL = "before-dial"
    BEFORE_OPTIONS = "before-options"
    AFTER_OPTIONS = "after-options"
    BEFORE_FIRST_LIST = "before-first-list"
    AFTER_FIRST_LIST = "after-first-list"
    BEFORE_ANSWER = "before-answer"


ARMED = {
    Fault.DIE_BEFORE_DIAL: Step.BEFORE_DIAL,
    Fault.DIE_AFTER_OPTIONS: Step.AFTER_OPTIONS,
    Fault.DIE_BEFORE_FIRST_LIST: Step.BEFORE_FIRST_LIST,
    Fault.DIE_AFTER_FIRST_LIST: Step.AFTER_FIRST_LIST,
    Fault.SLOW_DIAL_BACK: Step.BEFORE_DIAL,
    Fault.REFUSED_DIAL_BACK: Step.BEFORE_DIAL,
    Fault.SLOW_OPTIONS: Step.BEFORE_OPTIONS,
    Fault.LATE_ANSWER: Step.BEFORE_ANSWER,
}
"""The armed faults and their steps; all others strike at once."""

DEADLY = frozenset({Fault.DIE_BEFORE_DIAL, Fault.DIE_AFTER_OPTIONS, Fault.DIE_BEFORE_FIRST_LIST, Fault.DIE_AFTER_FIRST_LIST})
"""The armed faults that end the kubelet."""


@dataclass(frozen=True, slots=True)
class ArmedFault:
    """A fault that waits; ``resource`` None strikes whichever resource comes first."""

    fault: Fault
    resource: str | None = None
    seconds: float = 0.0
    sigkill: bool = False
    restart_after: float | None = None


class Arsenal:
    """The armed faults of a node; they outlive kubelets and strike once each."""

    def __init__(self) -> None:
        """Begin with nothing armed."""
        self._waiting: defaultdict[Step, list[ArmedFault]] = defaultdict(list)

    def arm(self, armed: ArmedFault) -> None:
        """Lay a fault in wait at its step."""
        self._waiting[ARMED[armed.fault]].append(armed)

    def disarm(self) -> None:
        """Forget all waiting faults."""
        self._waiting.clear()

    def take(self, step: Step, resource: str) -> ArmedFault | None:
        """Take the oldest fault that strikes ``resource`` at this step."""
        for armed in self._waiting[step]:
            if armed.resource in (None, resource):
                self._waiting[step].remove(armed)
                return armed
        return None

"""What a simulated node is made of and how a kubelet on it starts: frozen values, some of which travel as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from supervisor.kubelet.simulator.eras import ERAS, Era

SOCKET_NAME = "kubelet.sock"


@dataclass(frozen=True, slots=True)
class Paths:
    """Where the kubelet keeps its sockets."""

    device_plugins: Path
    pod_resources: Path

    @property
    def socket(self) -> Path:
        """The registration socket."""
        return self.device_plugins / SOCKET_NAME

    @property
    def pod_resources_socket(self) -> Path:
        """The podresources socket."""
        return self.pod_resources / SOCKET_NAME


@dataclass(frozen=True, slots=True)
class StartOptions:
    """How one life begins."""

    runtime_ready_delay: float = 0.0
    """Real seconds before the container runtime is ready; ``kubelet.sock`` is as the last life left it meanwhile."""
    listen_gap: float = 0.0
    """Real seconds between bind and listen of ``kubelet.sock``."""
    cleanup_pause: float = 0.0
    """Real seconds after each entry that the clean-up deletes."""
    sources_delay: float = 1.0
    """Kubelet seconds until the pods of the node are known; podresources ``List`` is empty until then."""


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """Everything a node is made of; travels as JSON to the simulator's process."""

    root: Path
    era: Era = field(default_factory=lambda: ERAS["1.37"])
    device_plugins_dir: Path | None = None
    """Default ``<root>/device-plugins``."""
    seed: int = 0
    """Decides whatever is a random order in the kubelet."""
    time_scale: float = 1.0
    """Real seconds for each second of the kubelet's own durations."""
    sources_delay: float = 1.0
    """Kubelet seconds after a start until the kubelet knows its pods."""
    checkpoints: bool = True
    """Whether the checkpoint is written after each list, with its fsync."""

    @property
    def paths(self) -> Paths:
        """The kubelet's directories."""
        return Paths(self.device_plugins_dir or self.root / "device-plugins", self.root / "pod-resources")

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        directory = str(self.device_plugins_dir) if self.device_plugins_dir is not None else None
        return {
            "root": str(self.root),
            "era": self.era.to_json(),
            "device_plugins_dir": directory,
            "seed": self.seed,
            "time_scale": self.time_scale,
            "sources_delay": self.sources_delay,
            "checkpoints": self.checkpoints,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> NodeSettings:
        """Rebuild from :meth:`to_json`."""
        directory = data["device_plugins_dir"]
        return cls(
            **{
                **data,
                "root": Path(data["root"]),
                "era": Era.from_json(data["era"]),
                "device_plugins_dir": Path(directory) if directory is not None else None,
            }
        )

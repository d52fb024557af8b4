"""What the keys of NVIDIA's ``version: v1`` file and its environment variables mean here: a key of ours, or why there is none.

The names and their meaning are those of ``api/config/v1`` and of the command line of NVIDIA/k8s-device-plugin 0.20.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class NotSupportedError(Exception):
    """A key is known, but this value of it cannot be honoured; the text goes on after "because"."""


class Key(NamedTuple):
    """A key that is honoured."""

    target: tuple[str, ...] = ()
    """Our key; empty where what is asked for is so anyway."""
    change: Callable[[Any], Any] = lambda value: value
    """Into our words, whose types and ranges are checked later. Raises ``NotSupportedError``, and ``ValueError`` for nonsense."""


class Records(NamedTuple):
    """A list of mappings, whose keys are found under ``<name>[]``."""

    target: tuple[str, ...]
    required: tuple[str, ...]


def _strategies(value: Any) -> Any:
    """One, several with commas between, or a list."""
    return [word.strip() for word in value.split(",")] if isinstance(value, str) else value


def _wildcard(value: Any) -> Any:
    """The star is NVIDIA's only wildcard; ours knows two more."""
    return value.replace("[", "[[]").replace("?", "[?]") if isinstance(value, str) else value


def _version(value: Any) -> None:
    if value != "v1":
        raise ValueError(f"Expected v1, got {value!r}")


def _fails(value: Any) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"Expected true or false, got {value!r}")  # noqa: TRY004 - the one kind that says what is wrong
    if value:
        raise NotSupportedError("a missing driver is waited for and told; it never ends the process")


def _discovers(value: Any) -> None:
    if value == "tegra":
        raise NotSupportedError("Tegra systems have no NVML, by which GPUs are found here")
    if value not in {"auto", "nvml"}:
        raise ValueError(f"Expected one of auto, nvml, tegra, got {value!r}")


_MPS = "GPUs are shared by time-slicing alone"
_LABELS = "labelling nodes is the work of GPU feature discovery"

KEYS: Mapping[str, Key | Records] = {
    "version": Key((), _version),
    "flags.migStrategy": Key(("migStrategy",)),
    "flags.failOnInitError": Key((), _fails),
    "flags.nvidiaDriverRoot": Key(("driverRoot",)),
    "flags.nvidiaDevRoot": Key(("devRoot",)),
    "flags.gdrcopyEnabled": Key(("extras", "*", "gdrcopy")),
    "flags.gdsEnabled": Key(("extras", "*", "gds")),
    "flags.mofedEnabled": Key(("extras", "*", "mofed")),
    "flags.deviceDiscoveryStrategy": Key((), _discovers),
    "flags.plugin.passDeviceSpecs": Key(("passDeviceSpecs",)),
    "flags.plugin.deviceListStrategy": Key(("deviceListStrategy",), _strategies),
    "flags.plugin.deviceIDStrategy": Key(("deviceIDStrategy",)),
    "flags.plugin.cdiAnnotationPrefix": Key(("cdi", "annotationPrefix")),
    "flags.plugin.nvidiaCTKPath": Key(("cdi", "hook")),
    "flags.plugin.containerDriverRoot": Key(("driverRootMount",)),
    "flags.plugin.sharedDevicesAllocationPolicy": Key(("sharing", "policy")),
    "resources.gpus": Records(("naming",), ("pattern", "name")),
    "resources.gpus[].pattern": Key(("model",), _wildcard),
    "resources.gpus[].name": Key(("name",)),
    "resources.mig": Records(("naming",), ("pattern", "name")),
    "resources.mig[].pattern": Key(("profile",), _wildcard),
    "resources.mig[].name": Key(("name",)),
    "sharing.timeSlicing.renameByDefault": Key(("sharing", "timeSlicing", "renameByDefault")),
    "sharing.timeSlicing.failRequestsGreaterThanOne": Key(("sharing", "timeSlicing", "failRequestsGreaterThanOne")),
    "sharing.timeSlicing.resources": Records(("sharing", "timeSlicing", "resources"), ("name", "replicas")),
    "sharing.timeSlicing.resources[].name": Key(("name",)),
    "sharing.timeSlicing.resources[].rename": Key(("rename",)),
    "sharing.timeSlicing.resources[].devices": Key(("devices",)),
    "sharing.timeSlicing.resources[].replicas": Key(("replicas",)),
    "imex.channelIDs": Key(("extras", "*", "imexChannels")),
    "imex.required": Key(("extras", "*", "imexRequired")),
}

NOT_SUPPORTED: Mapping[str, str] = {
    "flags.mpsRoot": _MPS,
    "flags.useNodeFeatureAPI": _LABELS,
    "flags.gfd": _LABELS,
    "sharing.mps": f"{_MPS}; these are offered whole",
}
"""Keys that are known, with all below them, and why nothing comes of them; the text goes on after "because"."""


def _boolean(text: str) -> bool:
    """As Go's ``strconv.ParseBool``."""
    if text in {"1", "t", "T", "true", "TRUE", "True"}:
        return True
    if text in {"0", "f", "F", "false", "FALSE", "False"}:
        return False
    raise ValueError(f"Expected true or false, got {text[:80]!r}")


def _numbers(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise ValueError(f"Expected numbers with commas between, got {text[:80]!r}")
    return [int(part) for part in parts]


VARIABLES: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "CONFIG_FILE": ("CONFIG_FILE", str),
    "MIG_STRATEGY": ("flags.migStrategy", str),
    "FAIL_ON_INIT_ERROR": ("flags.failOnInitError", _boolean),
    "NVIDIA_DRIVER_ROOT": ("flags.nvidiaDriverRoot", str),
    "NVIDIA_DEV_ROOT": ("flags.nvidiaDevRoot", str),
    "PASS_DEVICE_SPECS": ("flags.plugin.passDeviceSpecs", _boolean),
    "DEVICE_LIST_STRATEGY": ("flags.plugin.deviceListStrategy", str),
    "DEVICE_ID_STRATEGY": ("flags.plugin.deviceIDStrategy", str),
    "GDRCOPY_ENABLED": ("flags.gdrcopyEnabled", _boolean),
    "GDS_ENABLED": ("flags.gdsEnabled", _boolean),
    "MOFED_ENABLED": ("flags.mofedEnabled", _boolean),
    "CDI_ANNOTATION_PREFIX": ("flags.plugin.cdiAnnotationPrefix", str),
    "NVIDIA_CTK_PATH": ("flags.plugin.nvidiaCTKPath", str),
    "NVIDIA_CDI_HOOK_PATH": ("flags.plugin.nvidiaCTKPath", str),
    "CONTAINER_DRIVER_ROOT": ("flags.plugin.containerDriverRoot", str),
    "DRIVER_ROOT_CTR_PATH": ("flags.plugin.containerDriverRoot", str),
    "MPS_ROOT": ("flags.mpsRoot", str),
    "SHARED_DEVICES_ALLOCATION_POLICY": ("flags.plugin.sharedDevicesAllocationPolicy", str),
    "DEVICE_DISCOVERY_STRATEGY": ("flags.deviceDiscoveryStrategy", str),
    "USE_NODE_FEATURE_API": ("flags.useNodeFeatureAPI", _boolean),
    "IMEX_CHANNEL_IDS": ("imex.channelIDs", _numbers),
    "IMEX_REQUIRED": ("imex.required", _boolean),
}
"""Variable to the key of the file that means the same, and the way from a text to its value (``ValueError``: there is
none). Of two names for one key the later one wins."""

VARIABLES_NOT_SUPPORTED: Mapping[str, str] = {
    "KUBELET_SOCKET": "the kubelet's directory is kubelet.devicePluginsDir of our configuration file",
    "CDI_FEATURE_FLAGS": "they belong to NVIDIA's generator of CDI specs, and ours is another one",
    "CDI_DISABLE_HOOKS": "no hooks are used unless cdi.hook names one",
}

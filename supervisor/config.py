"""The configuration as frozen values, in the words of its file. Their constraints are checked when a file is read
(``supervisor.config_file``), not when one is made by hand.
"""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct, field

from supervisor.host import Host
from supervisor.model import AbsolutePath

API_VERSION: Final = "device-plugin-supervisor/v1alpha1"
KIND: Final = "SupervisorConfig"

RESTART_SECTIONS = ("kubelet", "http", "host", "kubernetes")
"""Sections that take effect at the next start only."""

HostPath = Annotated[AbsolutePath, Meta(description="an absolute path")]
Seconds = Annotated[float, Meta(gt=0, le=86400 * 365)]
ConditionType = Annotated[
    str,
    Meta(
        pattern=r"\A((?![^/]{254})[a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z|\A\Z",
        description="the type of a condition, like example.com/DevicesHealthy",
    ),
]
MemorySize = (
    Annotated[int, Meta(ge=1 << 20)]
    | Annotated[
        str,
        Meta(
            pattern=r"\A[1-9][0-9]{0,8}(Ki|Mi|Gi|Ti|k|M|G|T)\Z",
            description="a size like 512Mi, 1Gi or 2G, or a number of bytes",
        ),
    ]
)
_UNITS = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
_LISTEN = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+(%[A-Za-z0-9_.-]+)?\]|[^\s\[\]:/]*):(?P<port>[0-9]{1,5})")


class _Strict(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What all sections have in common: unknown keys are mistakes."""


class KubeletConfig(_Strict, frozen=True):
    """Where the kubelet's sockets are."""

    device_plugins_dir: HostPath = "/var/lib/kubelet/device-plugins"
    pod_resources_socket: HostPath = "/var/lib/kubelet/pod-resources/kubelet.sock"


class TlsConfig(_Strict, frozen=True):
    """The certificate of the HTTP server, in PEM. Files that are replaced are used from then on."""

    cert_file: HostPath
    """With the intermediate certificates behind it."""
    key_file: HostPath
    """Without a passphrase."""


class AuthConfig(_Strict, frozen=True):
    """How clients show that they may see more than the verdict of the probes. Any of the ways that are given is enough."""

    bearer_token_file: HostPath | None = None
    """One token a line. Tokens that are replaced hold from then on."""
    client_ca_file: HostPath | None = None
    """Certificates, in PEM, of those who sign certificates of clients."""

    def __post_init__(self) -> None:
        if self.bearer_token_file is None and self.client_ca_file is None:
            raise ValueError("Expected bearerTokenFile or clientCaFile: leave auth out to let everyone see everything")


class HttpConfig(_Strict, frozen=True):
    """Where probes, metrics and the status page are served, and who may see them."""

    listen: Annotated[str, Meta(description="address:port, [IPv6 address]:port, or :port for all addresses")] = "127.0.0.1:9410"
    tls: TlsConfig | None = None
    """Without it: plain HTTP."""
    auth: AuthConfig | None = None
    """Without it everyone may see everything. The answers to probes are for everyone in any case."""

    def __post_init__(self) -> None:
        found = _LISTEN.fullmatch(self.listen)
        if found is None or int(found["port"]) > 65535:
            raise ValueError(f"listen: Expected address:port, like 127.0.0.1:9410 or :9410, got {self.listen!r}")
        if self.auth is None or self.tls is not None:
            return
        if self.auth.client_ca_file is not None:
            raise ValueError(
                "auth.clientCaFile: Clients show certificates over TLS only: give tls.certFile and tls.keyFile too"
            )
        if not self._is_local:
            cure = "give tls.certFile and tls.keyFile too, or listen on 127.0.0.1"
            raise ValueError(f"auth.bearerTokenFile: Anybody on the way could read a token sent over plain HTTP: {cure}")

    @property
    def _is_local(self) -> bool:
        """Whether only this machine reaches the address."""
        host, _ = self.address
        try:
            return ip_address(host.partition("%")[0]).is_loopback
        except ValueError:
            return host == "localhost"

    @property
    def address(self) -> tuple[str, int]:
        """Host, empty for all addresses, and port."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


class HelperConfig(_Strict, frozen=True):
    """Where the helper container is reached, which opens devices for plugins whose hardware needs that."""

    socket: HostPath = Host().helper_socket
    """Where nothing is there, such programs run as children of this process."""


class HostConfig(_Strict, frozen=True):
    """Where the host's trees are seen from here; in a pod they are mounted elsewhere."""

    sysfs: HostPath = "/sys"
    dev: HostPath = "/dev"
    proc: HostPath = "/proc"
    run_udev: HostPath = "/run/udev"
    helper: HelperConfig = HelperConfig()

    @property
    def roots(self) -> Host:
        """The same, as plugins get it."""
        return Host(self.sysfs, self.dev, self.proc, self.run_udev, self.helper.socket)


class LogConfig(_Strict, frozen=True):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "text", "json"] = "auto"
    """``auto``: text on a terminal, JSON elsewhere."""


class LedgerConfig(_Strict, frozen=True):
    """What is asked about who holds which device."""

    tombstone_seconds: Annotated[float, Meta(ge=0, le=86400 * 365)] = 86400.0
    """How long an id that has vanished stays listed where nobody can be asked whether a container still holds it."""
    attribution: bool = True
    """Ask the kubelet over and over which pod holds which device, to show it."""


class MetricsConfig(_Strict, frozen=True):
    """Series whose number grows with the devices and the pods of the node."""

    per_device: bool = True
    """One series for each device: its health, and the uses of one that is shared."""
    per_pod: bool = True
    """One series for each device and container that holds it."""


class KubernetesConfig(_Strict, frozen=True):
    """What is asked of and told to the cluster's API. All of it is off unless it is wanted, and needs a service account that may."""

    events: bool = False
    """Write Events on the node, and on the pods that hold a device, when a device or a plugin fails or recovers."""
    node_condition: ConditionType = ""
    """The type of a condition of the node that tells whether all devices and plugins work; empty: none."""
    node_info: bool = False
    """Read the node's labels and versions, for plugins that decide by them."""
    node_name: Annotated[str, Meta(pattern=r"\A([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?\Z", max_length=253)] = ""
    """Empty: the environment variable NODE_NAME says it."""

    @property
    def wanted(self) -> bool:
        return self.events or bool(self.node_condition) or self.node_info


class PluginOptions(_Strict, frozen=True):
    """What the core knows about every plugin. All times are seconds."""

    enabled: bool = True
    """An installed plugin is on unless its section says otherwise."""
    isolation: Literal["thread", "process"] = "thread"
    """``process``: the plugin runs in a child that can be killed, against code that holds the GIL, crashes or eats memory."""
    look_interval: Seconds = 60.0
    """Between two looks when no event asks for one earlier."""
    look_timeout: Seconds = 10.0
    unhealthy_after_looks: Annotated[int, Meta(ge=1, le=1000)] = 3
    """Failed looks in a row, and at least ``unhealthy_after``, before devices that cannot be vouched for become Unhealthy."""
    unhealthy_after: Annotated[float, Meta(ge=0, le=86400)] = 30.0
    rpc_slots: Annotated[int, Meta(ge=1, le=64)] = 8
    """Calls of the kubelet that this plugin may work on at the same time; and as many starts of containers besides."""
    allocate_timeout: Annotated[float, Meta(gt=0, le=10)] = 5.0
    pre_start_timeout: Annotated[float, Meta(gt=0, le=28)] = 25.0
    """The kubelet gives up after 30."""
    preferred_allocation_timeout: Annotated[float, Meta(gt=0, le=5)] = 0.5
    """After it the default preference is answered."""
    memory_limit: MemorySize = "1Gi"
    """Of the child, with ``isolation: process``."""

    @property
    def memory_limit_bytes(self) -> int:
        if isinstance(self.memory_limit, int):
            return self.memory_limit
        number = self.memory_limit.rstrip("kMGTi")
        return int(number) * _UNITS[self.memory_limit.removeprefix(number)]


class PluginSection(Struct, frozen=True):
    """One section under ``plugins``, split into what the core knows and what only the plugin knows."""

    options: PluginOptions = PluginOptions()
    own: Mapping[str, Any] = {}
    """The plugin's own keys with plain values."""


class ProfileMatch(_Strict, frozen=True):
    """Which nodes a profile is for: all that is said here must hold."""

    node_name: tuple[Annotated[str, Meta(min_length=1)], ...] = ()
    """Patterns like ``gpu-*``; one of them must fit the node's name."""
    path: tuple[HostPath, ...] = ()
    """Patterns like ``/sys/class/infiniband/*``, as the host names them; one of them must lead to something."""
    pci: tuple[Annotated[str, Meta(pattern=r"\A[0-9a-f*?]+:[0-9a-f*?]+\Z", description="vendor:device, like 10de:*")], ...] = ()
    """Patterns of PCI functions; one of them must fit one that is there, whether or not it has a driver."""
    labels: Mapping[str, str] = {}
    """Labels that the node must have, each with its value; they are known only with ``kubernetes.nodeInfo``."""


class Profile(_Strict, frozen=True):
    """Sections of plugins for some nodes, in place of those that hold for all."""

    name: Annotated[str, Meta(pattern=r"\A[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z", description="a name of [a-z0-9-]")]
    when: ProfileMatch
    plugins: Mapping[str, PluginSection] = field(default_factory=dict)


class SupervisorConfig(_Strict, frozen=True):
    """The whole file."""

    api_version: Literal["device-plugin-supervisor/v1alpha1"]
    kind: Literal["SupervisorConfig"]
    kubelet: KubeletConfig = KubeletConfig()
    http: HttpConfig = HttpConfig()
    host: HostConfig = HostConfig()
    log: LogConfig = LogConfig()
    ledger: LedgerConfig = LedgerConfig()
    metrics: MetricsConfig = MetricsConfig()
    kubernetes: KubernetesConfig = KubernetesConfig()
    plugins: Mapping[str, PluginSection] = field(default_factory=dict)
    """Those of the profiles that hold here are in it."""
    profiles: tuple[Profile, ...] = ()

    def section(self, name: str) -> PluginSection:
        """A plugin that is not mentioned has an empty section."""
        return self.plugins.get(name, PluginSection())


DEFAULTS = SupervisorConfig(API_VERSION, KIND)

OPTION_KEYS = frozenset(PluginOptions.__struct_encode_fields__)
"""Keys of a plugin section that belong to the core."""


class Change(Struct, frozen=True):
    """What an edit of the file means. The three lists of plugins do not overlap."""

    added: tuple[str, ...] = ()
    """Plugins that have a section only now. They ran with the defaults before, if they are installed."""
    removed: tuple[str, ...] = ()
    """Plugins whose section is gone: back to the defaults."""
    touched: tuple[str, ...] = ()
    """Plugins whose section differs."""
    sections: tuple[str, ...] = ()
    """Other sections that differ and take effect at once."""
    pending: tuple[str, ...] = ()
    """Sections that differ from those at the start and take effect at the next one."""

    @property
    def plugins(self) -> tuple[str, ...]:
        """All plugins that must be made anew."""
        return tuple(sorted((*self.added, *self.removed, *self.touched)))


def diff(old: SupervisorConfig, new: SupervisorConfig, started: SupervisorConfig | None = None) -> Change:
    """Compare two configurations; ``started`` is the one that this process began with, ``old`` if not given."""
    before, after = old.plugins, new.plugins
    others = [name for name in SupervisorConfig.__struct_fields__ if name not in {*RESTART_SECTIONS, "plugins"}]
    began = started if started is not None else old
    return Change(
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        touched=tuple(sorted(name for name in before.keys() & after.keys() if before[name] != after[name])),
        sections=tuple(name for name in others if getattr(old, name) != getattr(new, name)),
        pending=tuple(name for name in RESTART_SECTIONS if getattr(began, name) != getattr(new, name)),
    )

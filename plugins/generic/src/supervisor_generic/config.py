"""The section ``plugins.generic`` of the configuration file: what an operator may write, and what is refused with a reason."""

import posixpath
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct

from supervisor import resource_name_problem

MAX_REPLICAS = 100_000

Pattern = Annotated[str, Meta(min_length=1, max_length=4095)]
"""A shell pattern for the whole text: ``*``, ``?``, ``[abc]``, ``[!abc]``."""

UsbId = Annotated[str, Meta(pattern=r"\A[0-9A-Fa-f]{4}\Z", description="four hexadecimal digits, quoted")]
Permissions = Annotated[str, Meta(description="some of r (read), w (write) and m (mknod)")]
Subsystem = Annotated[str, Meta(pattern=r"\A[-_.:A-Za-z0-9]{1,64}\Z", description="a class or bus of /sys")]
AttributeName = Annotated[str, Meta(pattern=r"\A(?!.*\.\.)[^/\0][^\0]{0,254}\Z", description="a file of the sysfs directory")]
EnvName = Annotated[str, Meta(pattern=r"\A[-._A-Za-z][-._A-Za-z0-9]{0,254}\Z")]
EnvValue = Annotated[str, Meta(pattern=r"\A[^\0]*\Z", max_length=32768)]

_SEEN = ("/dev/", "/sys/", "/proc/", "/run/udev/")


class _Section(Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """A mapping of the configuration file."""


class UsbMatch(_Section, frozen=True):
    """The USB device that a device is or belongs to. All given fields must fit."""

    vendor: UsbId | None = None
    product: UsbId | None = None
    serial: Pattern | None = None
    port: Pattern | None = None
    """The chain of ports as in sysfs, ``1-1.2``."""

    def __post_init__(self) -> None:
        if not any((self.vendor, self.product, self.serial, self.port)):
            raise ValueError("usb needs at least one of vendor, product, serial, port")


class ParentMatch(_Section, frozen=True):
    """One ancestor of a device. All given fields must fit one and the same ancestor."""

    subsystem: Subsystem | None = None
    name: Pattern | None = None
    driver: Pattern | None = None
    attributes: Mapping[AttributeName, Pattern] = {}

    def __post_init__(self) -> None:
        if not any((self.subsystem, self.name, self.driver, self.attributes)):
            raise ValueError("parent needs at least one of subsystem, name, driver, attributes")


class UdevMatch(_Section, frozen=True):
    """Devices of one subsystem. All given fields must fit."""

    subsystem: Subsystem
    name: Pattern | None = None
    """The kernel's name, ``ttyUSB*``."""
    driver: Pattern | None = None
    """The driver of the device, or of the nearest ancestor that has one."""
    attributes: Mapping[AttributeName, Pattern] = {}
    properties: Mapping[str, Pattern] = {}
    tags: tuple[str, ...] = ()
    """Tags of udev, all of which the device must carry."""
    parent: ParentMatch | None = None
    usb: UsbMatch | None = None


def _check_permissions(permissions: str) -> None:
    if not permissions or len(set(permissions)) != len(permissions) or not set(permissions) <= set("rwm"):
        raise ValueError(f"permissions are some of r, w and m, each once, not {permissions!r}")


def _check_container_path(path: str | None, whose: str) -> None:
    if path is None:
        return
    if not path.startswith("/") or ".." in path.split("/") or path == "/" or "\0" in path:
        raise ValueError(f"{whose} must be an absolute path inside the container without '..', not {path!r}")
    if "*" in path:
        raise ValueError(f"{whose} is no pattern; end it with '/' to name a directory that takes several nodes")


class Selector(_Section, frozen=True):
    """What is looked for: exactly one of ``path``, ``udev``, ``usb`` and ``mount``; and how a container sees it."""

    path: Pattern | None = None
    """Device nodes by pattern of their path on the host; ``**`` stands for any number of directories."""
    udev: UdevMatch | None = None
    usb: UsbMatch | None = None
    """The nodes ``/dev/bus/usb/BUS/DEVICE`` of whole USB devices."""
    mount: Pattern | None = None
    """Files and directories by pattern, bind-mounted instead of passed as devices."""
    container_path: str | None = None
    """One fixed path, or a directory where it ends with ``/``; as on the host when left out."""
    permissions: Permissions | None = None
    """Overrides those of the resource."""
    read_only: bool | None = None
    """Of a ``mount``; true when left out."""
    together: bool = False
    """All that is found makes one unit, instead of one unit each."""

    def __post_init__(self) -> None:
        self._check_kind()
        self._check_paths()
        if self.mount is None and self.read_only is not None:
            raise ValueError("readOnly belongs to mount; a device node has permissions")
        if self.permissions is not None:
            _check_permissions(self.permissions)
        if self.mount is not None and self.permissions is not None:
            raise ValueError("permissions belong to device nodes; a mount has readOnly")
        if self.together and self.container_path is not None and not self.container_path.endswith("/"):
            raise ValueError("with together, containerPath must be a directory that takes all nodes: end it with '/'")

    def _check_kind(self) -> None:
        given = [name for name in ("path", "udev", "usb", "mount") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of path, udev, usb, mount; here: {', '.join(given) or 'none'}")

    def _check_paths(self) -> None:
        pattern = self.path or self.mount
        if self.path is not None and not self.path.startswith("/dev/"):
            raise ValueError(f"path must start with /dev/, where device nodes are, not {self.path!r}")
        if self.mount is not None and not self.mount.startswith(_SEEN):
            raise ValueError(
                f"mount can only look under {', '.join(_SEEN)}, not at {self.mount!r}; "
                "what is always there belongs in the resource's mounts"
            )
        if pattern is not None and ("{" in pattern or ".." in pattern.split("/") or pattern.split("/").count("**") > 1):
            raise ValueError(f"{pattern!r} must be free of braces and '..', with '**' at most once; write several matches")
        _check_container_path(self.container_path, "containerPath")

    @property
    def directory(self) -> bool:
        """Whether ``container_path`` names a directory."""
        return self.container_path is not None and self.container_path.endswith("/")


class Member(Selector, frozen=True):
    """One of several things that are handed out together."""

    limit: Annotated[int, Meta(ge=1, le=MAX_REPLICAS)] = 1
    """How many units may share each thing found, where other members found more."""
    optional: bool = False
    """Added where there is one; its absence holds no unit back."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.together and self.limit != 1:
            raise ValueError("limit has no meaning with together: every unit gets all of it")


class Match(Selector, frozen=True):
    """One way to find units of a resource: a selector, or a ``group`` of members zipped into units."""

    group: tuple[Member, ...] | None = None
    each: Literal["usb", "pci", "parent"] | None = None
    """Only what hangs on the same USB device, PCI function or parent device makes one unit."""

    def __post_init__(self) -> None:
        if self.group is not None:
            self._check_group(self.group)
            return
        super().__post_init__()
        if self.each is not None and not self.together:
            raise ValueError("each says what makes one unit, so it goes with group or together")

    def _check_kind(self) -> None:
        given = [name for name in ("path", "udev", "usb", "mount") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of path, udev, usb, mount, group; here: {', '.join(given) or 'none'}")

    def _check_group(self, group: tuple[Member, ...]) -> None:
        own = (self.path, self.udev, self.usb, self.mount, self.container_path, self.permissions, self.read_only)
        if any(value is not None for value in own) or self.together:
            raise ValueError("a match with group has no other keys; they belong to the group's members")
        if all(member.optional for member in group):
            raise ValueError("a group needs at least one member that is not optional")
        fixed = Counter(m.container_path for m in group if m.container_path is not None and not m.directory)
        for path, times in fixed.items():
            if times > 1:
                raise ValueError(f"two members of one group want the same containerPath {path}")

    @property
    def members(self) -> tuple[Member, ...]:
        """The group; a single selector is a group of one."""
        if self.group is not None:
            return self.group
        return (
            Member(
                path=self.path,
                udev=self.udev,
                usb=self.usb,
                mount=self.mount,
                container_path=self.container_path,
                permissions=self.permissions,
                read_only=self.read_only,
                together=self.together,
            ),
        )


class MountConfig(_Section, frozen=True):
    """A path of the host that every container with the resource gets; whether it exists is not looked at."""

    host_path: Annotated[str, Meta(pattern=r"\A/[^\0]*\Z", max_length=4095)]
    container_path: str | None = None
    read_only: bool = True

    def __post_init__(self) -> None:
        _check_container_path(self.container_path, "containerPath")


class Resource(_Section, frozen=True):
    """One name that pods ask for, and all ways to find its devices."""

    name: str
    match: Annotated[tuple[Match, ...], Meta(min_length=1)]
    """Alternatives: each adds its units. Units with the same nodes are offered once, by the first match that finds them."""
    replicas: Annotated[int, Meta(ge=1, le=MAX_REPLICAS)] = 1
    """How many containers may hold each unit at a time."""
    permissions: Permissions = "rw"
    mounts: tuple[MountConfig, ...] = ()
    envs: Mapping[EnvName, EnvValue] = {}
    paths_env: EnvName | None = None
    """The variable that tells a container where it sees its devices; several paths are joined with commas."""

    def __post_init__(self) -> None:
        if problem := resource_name_problem(self.name):
            raise ValueError(f"{self.name!r} is no resource name: {problem}")
        _check_permissions(self.permissions)
        if self.paths_env in self.envs:
            raise ValueError(f"{self.paths_env} is set by pathsEnv; it cannot be in envs too")
        mounted = Counter(posixpath.normpath(mount.container_path or mount.host_path) for mount in self.mounts)
        for path, times in mounted.items():
            if times > 1:
                raise ValueError(f"two mounts want the same containerPath {path}")


class GenericConfig(_Section, frozen=True):
    """All resources."""

    resources: tuple[Resource, ...] = ()

    def __post_init__(self) -> None:
        for name, times in Counter(resource.name for resource in self.resources).items():
            if times > 1:
                raise ValueError(f"resource {name} is given {times} times; put all of its matches into one")

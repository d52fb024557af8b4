"""Which devices of this machine take part, and the configuration that offers them."""

import glob
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

PLUGIN = "generic"
"""The installed package that offers devices by configuration alone."""

DOMAIN = "demo.example.com"

MOST_FAMILIES = 5
"""More would be too long to read."""


class Family(Struct, frozen=True):
    """Devices of one kind, offered as one resource."""

    name: str
    match: str
    """One match of the generic plugin, in YAML."""
    signs: str = ""
    """Shell pattern of the files that show that there are some; empty for a family that is always there."""
    replicas: int = 1
    permissions: str = "rw"

    @property
    def resource(self) -> str:
        return f"{DOMAIN}/{self.name}"

    @property
    def present(self) -> bool:
        return not self.signs or bool(glob.glob(self.signs))  # noqa: PTH207 -- a pattern with a directory in it

    def yaml(self) -> str:
        """Its part of the configuration."""
        lines = [f"      - name: {self.resource}", f"        match: [{{{self.match}}}]"]
        lines += [f"        replicas: {self.replicas}"] if self.replicas > 1 else []
        lines += [f"        permissions: {self.permissions}"] if self.permissions != "rw" else []
        return "\n".join(lines) + "\n"


FAMILIES = (
    Family("fuse", "path: /dev/fuse", "/dev/fuse", replicas=4),
    Family("tun", "path: /dev/net/tun", "/dev/net/tun", replicas=4),
    Family("loop", 'udev: {subsystem: block, name: "loop[0-9]"}', "/dev/loop[0-9]", permissions="r"),
    Family("gpu", 'udev: {subsystem: drm, name: "renderD*"}', "/dev/dri/renderD*"),
    Family("usb", 'udev: {subsystem: usb, name: "[0-9]*-*"}', "/dev/bus/usb/*/*", permissions="r"),
    Family("kvm", "path: /dev/kvm", "/dev/kvm", replicas=4),
    Family("sound", 'udev: {subsystem: sound, name: "controlC*"}', "/dev/snd/controlC*", permissions="r"),
)
"""Only what it harms in no way to open: no serial line (its modem lines would move), no camera (its light would go on)."""


def present(families: Sequence[Family] = FAMILIES) -> tuple[Family, ...]:
    """The families of this machine, the most telling first."""
    return tuple(family for family in families if family.present)[:MOST_FAMILIES]


def configuration(families: Sequence[Family], look_interval: int, pod_resources_socket: Path) -> str:
    """The whole file. ``look_interval`` is in seconds."""
    return (
        "apiVersion: device-plugin-supervisor/v1alpha1\n"
        "kind: SupervisorConfig\n"
        f"kubelet: {{podResourcesSocket: {pod_resources_socket}}}\n"
        "log: {format: text}\n"
        "plugins:\n"
        f"  {PLUGIN}:\n"
        f"    lookInterval: {look_interval}\n"
        "    resources:\n"
    ) + "".join(family.yaml() for family in families)

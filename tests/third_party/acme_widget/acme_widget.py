"""ACME widgets, /dev/widget*, as acme.example/widget."""

from supervisor import ContainerEdits, Device, DeviceNode, Host, HostView, hookimpl


class Widgets:
    name, udev_subsystems = "acme-widget", ("misc",)

    def __init__(self, host: Host) -> None:
        self.host = host

    def discover(self) -> dict[str, list[Device]]:
        paths = HostView(self.host).glob("/dev/widget*")
        return {"acme.example/widget": [Device(path, edits=ContainerEdits((DeviceNode(path),))) for path in paths]}


@hookimpl
def device_plugins(host: Host) -> list[Widgets]:
    return [Widgets(host)]

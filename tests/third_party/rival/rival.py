"""A package that wants what ACME's widgets have: their name as a plugin, and their resource."""

from supervisor import Device, hookimpl


class Namesake:
    name = "acme-widget"
    udev_subsystems = ()

    def discover(self) -> dict[str, list[Device]]:
        return {"rival.example/namesake": [Device("namesake")]}


class Rival:
    name = "rival"
    udev_subsystems = ()

    def discover(self) -> dict[str, list[Device]]:
        return {"acme.example/widget": [Device("stolen")], "rival.example/thing": [Device("own")]}


@hookimpl
def device_plugins() -> list[Namesake | Rival]:
    return [Namesake(), Rival()]

"""A package written for a contract that this supervisor does not have."""

from supervisor import hookimpl

CONTRACT_VERSION = 99


@hookimpl
def device_plugins() -> list[object]:
    return []

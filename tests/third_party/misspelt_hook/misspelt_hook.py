"""A package whose author left out one letter."""

from supervisor import hookimpl


@hookimpl
def device_plugin() -> list[object]:
    return []

"""A package that does its work at import, and its work never ends."""

import threading

from supervisor import hookimpl

threading.Event().wait()


@hookimpl
def device_plugins() -> list[object]:
    return []

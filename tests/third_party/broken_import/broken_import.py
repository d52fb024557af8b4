"""A package whose library is not installed."""

import a_library_that_is_not_installed

from supervisor import hookimpl


@hookimpl
def device_plugins() -> list[object]:
    return [a_library_that_is_not_installed.Plugin()]

"""Any device of the host, offered by configuration alone."""

import functools
from collections.abc import Iterable

from supervisor import DevicePlugin, Host, hookimpl
from supervisor_generic.config import GenericConfig
from supervisor_generic.identity import Memory
from supervisor_generic.plugin import GenericPlugin

CONTRACT_VERSION = 1

__all__ = ["CONTRACT_VERSION", "GenericConfig", "GenericPlugin", "config_type", "device_plugins"]


@hookimpl
def config_type() -> type[GenericConfig]:
    """The section ``plugins.generic`` of the configuration file."""
    return GenericConfig


@hookimpl
def device_plugins(config: GenericConfig, host: Host) -> Iterable[DevicePlugin]:
    """One plugin for all configured resources: one look serves all their rules."""
    return [GenericPlugin(config, host, _memory_of(host))] if config.resources else []


@functools.cache
def _memory_of(host: Host) -> Memory:
    """One for the life of the process: ids that pods hold must mean the same devices after an edit of the configuration."""
    return Memory()

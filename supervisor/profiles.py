"""Which profiles of the configuration hold on this node, by what can be seen here and by what the cluster says of it."""

import os
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path

from supervisor.config import ProfileMatch
from supervisor.config_file import Document
from supervisor.host import Host

MOST_FUNCTIONS = 10_000
"""PCI functions that are looked at."""


def node_name(document: Document, environ: Mapping[str, str] = os.environ) -> str:
    """The node's name: by configuration, else by the variable ``NODE_NAME``, else that of this machine outside of pods."""
    named = document.config.kubernetes.node_name or environ.get("NODE_NAME", "")
    return named or ("" if "KUBERNETES_SERVICE_HOST" in environ else os.uname().nodename)


def here(document: Document, labels: Mapping[str, str] | None = None) -> Document:
    """The configuration as it holds on this node. ``labels``: those of the node, where they are known. Blocks on sysfs."""
    if not document.config.profiles:
        return document
    name, host = node_name(document), document.config.host.roots
    holding = [profile.name for profile in document.config.profiles if holds(profile.when, name, host, labels)]
    return document.with_profiles(holding)


def holds(when: ProfileMatch, name: str, host: Host, labels: Mapping[str, str] | None) -> bool:
    """Whether all that is said of a node is true of this one. What nobody knows is not true."""
    return (
        (not when.node_name or any(fnmatchcase(name, pattern) for pattern in when.node_name))
        and all((labels or {}).get(key) == value for key, value in when.labels.items())
        and (not when.path or any(_leads_somewhere(pattern, host) for pattern in when.path))
        and (not when.pci or _is_there(when.pci, host))
    )


def _leads_somewhere(pattern: str, host: Host) -> bool:
    local = host.local(pattern)
    return local is not None and next(Path("/").glob(local.lstrip("/")), None) is not None


def _is_there(patterns: tuple[str, ...], host: Host) -> bool:
    return any(fnmatchcase(function, pattern) for function in _functions(host) for pattern in patterns)


def _functions(host: Host) -> Iterator[str]:
    """Vendor and device of each PCI function, like ``10de:2330`` (``/sys/bus/pci/devices/*/{vendor,device}``)."""
    for directory in islice(Path(host.sysfs).glob("bus/pci/devices/*"), MOST_FUNCTIONS):
        try:
            vendor, device = ((directory / fact).read_text()[:16].strip().removeprefix("0x") for fact in ("vendor", "device"))
        except (OSError, ValueError):
            continue  # gone meanwhile, or nonsense: no function to go by
        yield f"{vendor}:{device}"

"""What resources are called: NVIDIA's names, and when two of them may become one."""

from collections.abc import Iterable
from typing import NamedTuple

DOMAIN = "nvidia.com/"
GPU = "nvidia.com/gpu"


class Leads(NamedTuple):
    """What would be offered as ``source`` is offered as ``target``, so many times."""

    source: str
    target: str
    replicas: int


def qualified(name: str) -> str:
    """A name without a domain gets NVIDIA's."""
    return name if "/" in name else DOMAIN + name


def of_profile(profile: str) -> str:
    """NVIDIA's name for the MIG devices of one profile: ``nvidia.com/mig-1g.10gb.me`` for ``1g.10gb+me``."""
    return f"{DOMAIN}mig-{profile.replace('+', '.')}"


def clashes(leads: Iterable[Leads]) -> dict[str, str]:
    """Resources into which several others are merged although their devices are not cut alike, each with a sentence.

    A pod that asks for one of them would get a tenth of a GPU or a whole one, by chance. That is meant only where it is said
    of devices of one and the same resource, so only what comes from several ones clashes.
    """
    found: dict[str, set[Leads]] = {}
    for lead in leads:
        found.setdefault(lead.target, set()).add(lead)
    return {
        target: f"{target} would be made of {_ways(there)}; share them alike, or choose another name"
        for target, there in sorted(found.items())
        if len({lead.source for lead in there}) > 1 and len({lead.replicas for lead in there}) > 1
    }


def _ways(leads: Iterable[Leads]) -> str:
    return ", ".join(
        f"{lead.source} ({'whole' if lead.replicas == 1 else f'{lead.replicas} slices each'})" for lead in sorted(leads)
    )

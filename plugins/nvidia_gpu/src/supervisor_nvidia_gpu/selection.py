"""Which GPUs are offered, and why not the others."""

import fnmatch
from collections.abc import Iterable, Sequence

from msgspec import Struct

from supervisor_nvidia_gpu import pci
from supervisor_nvidia_gpu.config import GpuMatch, Selection
from supervisor_nvidia_gpu.report import Gpu

DISPLAY = "*DGX Display*"
"""Models that nobody means by a GPU; NVIDIA's plugin passes them over, too."""


class Choice(Struct, frozen=True):
    """What the selection says of one GPU."""

    gpu: Gpu
    hidden: str = ""
    """Why it is not offered; empty: it is."""
    cordoned: str = ""
    """Why it takes no new pods; empty: it does."""


def select(gpus: Iterable[Gpu], selection: Selection) -> tuple[Choice, ...]:
    """A choice for each GPU, in their order. What is excluded is excluded, even where it is included or cordoned too."""
    return tuple(_choose(gpu, selection) for gpu in gpus)


def _choose(gpu: Gpu, selection: Selection) -> Choice:
    if (rule := _first(selection.exclude, gpu)) is not None:
        return Choice(gpu, hidden=f"excluded by selection.exclude[{rule}] ({words(selection.exclude[rule])})")
    if selection.include and _first(selection.include, gpu) is None:
        return Choice(gpu, hidden="fits none of selection.include")
    if not selection.include and fits(DISPLAY, gpu.model):
        return Choice(gpu, hidden="drives the display of a DGX station and computes nothing; selection.include would offer it")
    if (rule := _first(selection.cordon, gpu)) is not None:
        return Choice(gpu, cordoned=f"cordoned by selection.cordon[{rule}] ({words(selection.cordon[rule])})")
    return Choice(gpu)


def _first(rules: Sequence[GpuMatch], gpu: Gpu) -> int | None:
    return next((number for number, rule in enumerate(rules) if selects(rule, gpu)), None)


def selects(rule: GpuMatch, gpu: Gpu) -> bool:
    """Whether all that the rule says holds. A fact that could not be read fits nothing: nobody is excluded by guessing."""
    return (
        (rule.index is None or rule.index == gpu.index)
        and (rule.uuid is None or fits(rule.uuid, gpu.uuid))
        and (rule.model is None or fits(rule.model, gpu.model))
        and (rule.pci is None or _fits_address(rule.pci, gpu.pci))
    )


def fits(pattern: str, text: str) -> bool:
    """Whether a shell pattern fits the whole text, case ignored. An unknown text, an empty one, fits no pattern."""
    return bool(text) and fnmatch.fnmatchcase(text.lower(), pattern.lower())


def _fits_address(pattern: str, address: str) -> bool:
    if not address:
        return False
    if wanted := pci.normal(pattern):
        return wanted == pci.normal(address)
    domain, _, rest = address.partition(":")
    return any(fits(pattern, spelling) for spelling in (address, f"{domain:0>8}:{rest}", rest))


def words(rule: GpuMatch) -> str:
    """The rule in one line: ``model *T4*, index 3``."""
    said = (("uuid", rule.uuid), ("pci", rule.pci), ("index", rule.index), ("model", rule.model))
    return ", ".join(f"{name} {value}" for name, value in said if value is not None)

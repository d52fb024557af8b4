"""Why a GPU is offered, hidden or unhealthy, in sentences for people."""

from collections.abc import Callable, Iterator

from supervisor_nvidia_gpu import pci
from supervisor_nvidia_gpu.health.monitor import Verdict
from supervisor_nvidia_gpu.picture import Picture
from supervisor_nvidia_gpu.report import Gpu
from supervisor_nvidia_gpu.units import Unit, physical, title


def explain(text: str, picture: Picture, judge: Callable[[str], Verdict]) -> Iterator[str]:
    """For an id of the kubelet, a UUID, a PCI address, or a node ``/dev/nvidia<minor>``; nothing where nothing is known."""
    for gpu in picture.report.gpus:
        units = [unit for unit in picture.offer.units if unit.gpu == gpu]
        meant = [unit for unit in units if unit.id in {text, physical(text)}]
        if meant or _means(text, gpu):
            yield f"{title(gpu)}: {gpu.model or 'a model that cannot be read'}, {gpu.uuid or 'without a UUID'}"
            yield from _hidden(text, gpu, picture)
            for unit in meant or units:
                yield from _offered(unit, picture, judge(unit.id))


def _means(text: str, gpu: Gpu) -> bool:
    address = pci.normal(text)
    return (
        (bool(gpu.uuid) and text == gpu.uuid)
        or (bool(address) and address == gpu.pci)
        or (gpu.minor is not None and text == f"/dev/nvidia{gpu.minor}")
        or any(text == mig.uuid for mig in gpu.mig)
    )


def _hidden(text: str, gpu: Gpu, picture: Picture) -> Iterator[str]:
    for name in (gpu.uuid, gpu.pci, f"index {gpu.index}", *(mig.uuid for mig in gpu.mig)):
        if name and (why := picture.offer.hidden.get(name)):
            yield f"{name} is not offered: {why}"


def _offered(unit: Unit, picture: Picture, verdict: Verdict) -> Iterator[str]:
    shape = "" if unit.mig is None else f"its MIG device {unit.mig.profile} "
    slices = f", in {unit.replicas} time slices" if unit.shared else ""
    yield f"{shape}is offered as {unit.resource}{slices}, by the id {unit.id}"
    if unit.problem:
        yield f"it is listed Unhealthy: {unit.problem}"
    state = "healthy" if verdict.healthy else "not healthy"
    yield f"{unit.id} is {state} ({verdict.state})" + (f": {verdict.reason}" if verdict.reason else "")
    if problem := picture.offer.problems.get(unit.resource):
        yield f"{unit.resource}: {problem}"

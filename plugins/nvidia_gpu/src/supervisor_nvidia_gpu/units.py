"""What is one unit of which resource: a GPU or a MIG device, by which name, and in how many time slices.

Pure: one report and one configuration give one offer, whatever order the GPUs come in. A changed MIG layout is another offer.
A UUID that was read is never left out for being in trouble, since a pod may hold it: it is listed all the same.
"""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from supervisor import AllocationRefused, resource_name_problem
from supervisor_nvidia_gpu.config import Naming, NvidiaGpuConfig, Shared
from supervisor_nvidia_gpu.naming import GPU, Leads, clashes, of_profile
from supervisor_nvidia_gpu.report import Gpu, MigDevice, Report
from supervisor_nvidia_gpu.selection import Choice, fits, select


class Unit(Struct, frozen=True):
    """One physical thing that may be offered, before its time slices are counted."""

    resource: str
    """``nvidia.com/gpu``"""
    id: str
    """The UUID. The kubelet's ids are this, or with time slices ``<id>::<n>``."""
    gpu: Gpu
    mig: MigDevice | None = None
    replicas: int = 1
    shared: bool = False
    """Whether time-slicing applies, and ids end in ``::<n>``."""
    cordoned: bool = False
    problem: str = ""
    """Why it must be listed Unhealthy whatever its health: a bad layout, a cordon. Empty: by its health."""


class Offer(Struct, frozen=True):
    """All that a node offers."""

    units: tuple[Unit, ...] = ()
    """By GPU index, then MIG index."""
    resources: frozenset[str] = frozenset()
    """The names of all units; where a node with GPUs has no unit at all, the one for whole GPUs, which is then offered with 0."""
    problems: Mapping[str, str] = {}
    """Resource name to what is wrong with its layout."""
    hidden: Mapping[str, str] = {}
    """UUID of a GPU or MIG device (without one: PCI address or index) to why it is not offered."""
    notices: tuple[str, ...] = ()
    """What is no mistake, but worth a sentence."""


def offer(report: Report, config: NvidiaGpuConfig) -> Offer:
    """The offer for what a look has found."""
    made = _Making(config)
    for choice in select(sorted(report.gpus, key=_order), config.selection):
        made.add(choice)
    made.share()
    made.judge_layout()
    return made.offer(has_gpus=bool(report.gpus))


def replica_ids(unit: Unit) -> tuple[str, ...]:
    """The ids that the kubelet gets for a unit."""
    return tuple(f"{unit.id}::{number}" for number in range(unit.replicas)) if unit.shared else (unit.id,)


def physical(device_id: str) -> str:
    """The unit's id of a kubelet's id."""
    return device_id.rpartition("::")[0] or device_id


def check_request(ids: Sequence[str], units: Iterable[Unit], config: NvidiaGpuConfig) -> None:
    """Refuse what the sharing rules forbid one container to get of one resource. Raises ``AllocationRefused``.

    An id without a unit, of a device that has just gone, is judged by its look.
    """
    slicing = config.sharing.time_slicing
    shared = {unit.id for unit in units if unit.shared}
    slices = [physical(each) for each in ids if "::" in each or each in shared]
    if slicing.fail_requests_greater_than_one and slices and len(ids) > 1:
        raise AllocationRefused(
            f"{len(ids)} devices asked for, but a time slice is given out alone (failRequestsGreaterThanOne): ask for 1"
        )
    if config.sharing.policy == "spread":
        twice = sorted({each for each in slices if slices.count(each) > 1})
        if twice:
            raise AllocationRefused(f"several time slices of {twice[0]} in one container, which the policy spread forbids")


def _order(gpu: Gpu) -> tuple[int, str, str]:
    return gpu.index, gpu.pci, gpu.uuid


def title(gpu: Gpu) -> str:
    """How people name a GPU: ``GPU 3 (0000:3b:00.0)``."""
    return f"GPU {gpu.index} ({gpu.pci})" if gpu.pci else f"GPU {gpu.index}"


class _Making:
    """An offer in the making: first the units by the resources that they are of, then what the layout and the sharing say."""

    def __init__(self, config: NvidiaGpuConfig) -> None:
        self._config = config
        self._units: dict[str, Unit] = {}
        """By id."""
        self._problems: dict[str, list[str]] = {}
        self._hidden: dict[str, str] = {}
        self._notices: list[str] = []

    def offer(self, *, has_gpus: bool) -> Offer:
        units = tuple(self._units.values())
        names = {unit.resource for unit in units}
        if has_gpus and not names:
            names = {self._name_without_units()}
        return Offer(
            units=units,
            resources=frozenset(names),
            problems={name: "; ".join(texts) for name, texts in sorted(self._problems.items())},
            hidden=self._hidden,
            notices=tuple(self._notices),
        )

    def _name_without_units(self) -> str:
        slicing = self._config.sharing.time_slicing
        rules = [rule for rule in slicing.resources if rule.resource == GPU and rule.devices == "all"]
        return slicing.lands_on(rules[0]) if rules else GPU

    # --- GPUs and MIG devices become units ---------------------------------------------------------------------------

    def add(self, choice: Choice) -> None:
        gpu = choice.gpu
        name = gpu.uuid or gpu.pci or f"index {gpu.index}"
        if choice.hidden:
            self._hidden[name] = choice.hidden
        elif not gpu.uuid:
            self._hidden[name] = gpu.problem or "its UUID cannot be read"
        elif self._in_parts(gpu):
            self._add_mig(choice)
        else:
            self._add_unit(choice, GPU, None)
            if gpu.mig_enabled:
                self._notices.append(f"{title(gpu)} is in MIG mode, but migStrategy is none: it is offered as a whole")

    def _in_parts(self, gpu: Gpu) -> bool:
        return self._config.mig_strategy != "none" and (bool(gpu.mig) or bool(gpu.mig_enabled))

    def _add_mig(self, choice: Choice) -> None:
        gpu = choice.gpu
        if not gpu.mig:
            self._hidden[gpu.uuid] = gpu.problem or "in MIG mode, but without MIG devices"
            if not gpu.problem:
                self._notices.append(f"{title(gpu)} is in MIG mode, but has no MIG devices: create some, or turn the mode off")
        for mig in sorted(gpu.mig, key=lambda each: (each.index, each.uuid)):
            name = of_profile(mig.profile) if self._config.mig_strategy == "mixed" else GPU
            if not mig.whole:
                self._hidden[mig.uuid] = f"{mig.profile} has not all compute slices of its GPU instance"
            elif problem := resource_name_problem(name):
                self._hidden[mig.uuid] = f"{name!r}, made of its profile, is no resource name: {problem}"
            else:
                self._add_unit(choice, name, mig)

    def _add_unit(self, choice: Choice, resource: str, mig: MigDevice | None) -> None:
        gpu = choice.gpu
        unit = Unit(
            resource=next((rule.resource for rule in self._config.naming if _is_named(rule, gpu, mig)), resource),
            id=gpu.uuid if mig is None else mig.uuid,
            gpu=gpu,
            mig=mig,
            cordoned=bool(choice.cordoned),
            problem=choice.cordoned,
        )
        if (first := self._units.setdefault(unit.id, unit)) is not unit:
            self._notices.append(f"{title(gpu)} and {title(first.gpu)} both hold {unit.id}: only the first is offered")

    # --- time slices -------------------------------------------------------------------------------------------------

    def share(self) -> None:
        """Cut units into slices. Where two rules mean one unit, the first counts and the other is refused."""
        sources = {unit.id: unit.resource for unit in self._units.values()}
        for resource, units in _by_resource(self._units.values()).items():
            cut: dict[str, int] = {}
            for number, rule in enumerate(self._config.sharing.time_slicing.resources):
                if rule.resource == resource:
                    self._cut(number, rule, units, cut)
        self._judge_merges(sources)

    def _cut(self, number: int, rule: Shared, units: Sequence[Unit], cut: dict[str, int]) -> None:
        """Do as one rule says; ``cut`` tells which rule has cut which unit."""
        here = f"sharing.timeSlicing.resources[{number}]"
        target = self._config.sharing.time_slicing.lands_on(rule)
        chosen, missing = _meant(rule, units)
        if missing:
            self._notices.append(f"{here}: {rule.resource} has no {', '.join(missing)}")
        for unit in chosen:
            if (first := cut.setdefault(unit.id, number)) == number:
                self._units[unit.id] = replace(unit, resource=target, replicas=rule.replicas, shared=True)
            else:
                problem = f"{here} is refused for {unit.id}, which resources[{first}] shares"
                self._problems.setdefault(self._units[unit.id].resource, []).append(problem)

    def _judge_merges(self, sources: Mapping[str, str]) -> None:
        """A rename may meet a name that only this layout brings up; the units that were renamed then stand back."""
        leads = {unit.id: Leads(sources[unit.id], unit.resource, unit.replicas) for unit in self._units.values()}
        for target, problem in clashes(leads.values()).items():
            self._problems.setdefault(target, []).append(problem)
            for unit in [*self._units.values()]:
                if unit.resource == target and sources[unit.id] != target:
                    self._blame(unit, problem)

    # --- what the layout says ----------------------------------------------------------------------------------------

    def judge_layout(self) -> None:
        """With ``single``, all units of a resource are alike. Where they are not, it is the MIG devices that pods cannot rely on."""
        if self._config.mig_strategy != "single":
            return
        for resource, units in _by_resource(self._units.values()).items():
            problem = _unlike(resource, [unit for unit in units if not unit.gpu.problem])
            if not problem:
                continue
            self._problems.setdefault(resource, []).append(problem)
            for unit in units:
                if unit.mig is not None:
                    self._blame(unit, problem)

    def _blame(self, unit: Unit, problem: str) -> None:
        self._units[unit.id] = replace(unit, problem="; ".join(filter(None, (unit.problem, problem))))


def _is_named(rule: Naming, gpu: Gpu, mig: MigDevice | None) -> bool:
    if rule.model is not None and not fits(rule.model, gpu.model):
        return False
    if mig is None:
        return rule.profile is None
    return rule.profile is not None and fits(rule.profile, mig.profile)


def _by_resource(units: Iterable[Unit]) -> dict[str, list[Unit]]:
    found: dict[str, list[Unit]] = {}
    for unit in units:
        found.setdefault(unit.resource, []).append(unit)
    return found


def _unlike(resource: str, units: Sequence[Unit]) -> str:
    """What makes MIG devices differ from the rest of their resource; empty where all are alike."""
    kinds: dict[str, Gpu] = {}
    for unit in units:
        kinds.setdefault("whole GPUs" if unit.mig is None else unit.mig.profile, unit.gpu)
    if len(kinds) < 2:
        return ""
    found = ", ".join(f"{kind} ({title(gpu)})" for kind, gpu in kinds.items())
    return f"migStrategy is single, but {resource} is made of {found}: make all GPUs alike, or use mixed"


def _meant(rule: Shared, units: Sequence[Unit]) -> tuple[list[Unit], list[str]]:
    """The units that a rule means, and what it lists but is not there."""
    if rule.devices == "all":
        return [*units], []
    if isinstance(rule.devices, int):
        return [*units[: rule.devices]], []
    chosen = [unit for unit in units if not _names(unit).isdisjoint(rule.listed)]
    known = {name for unit in chosen for name in _names(unit)}
    return chosen, [name for name in rule.listed if name not in known]


def _names(unit: Unit) -> set[str]:
    """How a list of devices may name a unit."""
    index = str(unit.gpu.index) if unit.mig is None else f"{unit.gpu.index}:{unit.mig.index}"
    return {unit.id.lower(), index}

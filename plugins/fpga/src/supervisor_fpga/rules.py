"""Which resource has which function: the first that takes it, in the order of the configuration.

Pure: one report and one configuration give one offer, whatever order the functions come in. What is programmed for its containers may be
offered by several resources; all else has one. A function that is in use must not change its resource merely because something is not
known for a while: it would be free under another name. So what it belonged to before is asked for, and kept until that is certainly wrong.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from supervisor_fpga.config import FpgaConfig, Program, Resource
from supervisor_fpga.matching import Answer, all_of, any_of
from supervisor_fpga.naming import Name, bare_id, known_id, may_be_name, resource_name
from supervisor_fpga.presets import rules_of
from supervisor_fpga.report import Function, Report
from supervisor_fpga.sorting import Question, sort_out
from supervisor_fpga.units import Offer, Unit, Whole, claim_of, order, problem_of, region_of, title, titles, wholes


def offer(report: Report, config: FpgaConfig, before: Mapping[str, object] | None = None) -> Offer:
    """The offer for what a look has found.

    ``before`` is ``Offer.taken`` of the offer before, be it another process's or by another configuration: what it says of resources
    that are not configured, or in words that make no sense, counts nothing.
    """
    rules = rules_of(config)
    functions = order({each.id: each for each in reversed(order(report.functions))}.values())
    sorted_out = sort_out(_questions(rules, functions, config.programming, before or {}))
    units = _claimed(sorted_out.units)
    odd = {**sorted_out.unnamed, **{each.id: why for each in functions if (why := each.problem or each.content_problem)}}
    quarantined = {name: why for name, why in odd.items() if name not in sorted_out.taken}
    return Offer(
        units=units,
        resources=tuple(dict.fromkeys(_resources(rules, units, configured=bool(config.resources)))),
        reasons={name: (why,) for name, why in report.refused.items()}
        | {each.id: _reasons(each, sorted_out.told, quarantined) for each in functions},
        taken=sorted_out.taken,
        quarantined=quarantined,
        notices=(
            *_left([each for each in functions if each.id not in {*sorted_out.taken, *quarantined}]),
            *_shadowed(rules),
            *_daring(config.resources),
        ),
    )


def _claimed(units: Sequence[Unit]) -> tuple[Unit, ...]:
    programmed = frozenset(region_of(each) for unit in units if unit.rule.program is not None for each in unit.functions)
    return tuple(replace(unit, claim=claim_of(unit, programmed)) for unit in units)


def _resources(rules: Sequence[Resource], units: Sequence[Unit], *, configured: bool) -> Iterator[str]:
    for rule in rules:
        if configured and rule.literal:
            yield rule.name
        yield from (unit.resource for unit in units if unit.rule is rule)


def _reasons(function: Function, told: Mapping[str, Sequence[str]], quarantined: Mapping[str, str]) -> tuple[str, ...]:
    if function.problem and function.id in quarantined:
        return (f"it is quarantined: {function.problem}",)
    return tuple(told.get(function.id, ()))


# --- one rule and one whole -------------------------------------------------------------------------------------------------


def _questions(
    rules: Sequence[Resource], functions: Sequence[Function], ways: Sequence[str], before: Mapping[str, object]
) -> Iterator[Question]:
    for rule in rules:
        for whole in wholes(rule.unit, functions):
            said = all_of(_of_whole(rule, whole, ways))
            name = resource_name(rule.name, whole.functions)
            yield Question(rule, whole, said, name, _had(before, rule, name, whole))


def _had(before: Mapping[str, object], rule: Resource, name: Name, whole: Whole) -> str:
    """By this very rule: another one may have a template by which the name could be, too."""
    for function in whole.functions:
        names = before.get(function.id)
        for had, template in names.items() if isinstance(names, Mapping) else ():
            if template == rule.name and isinstance(had, str) and _may_be(had, rule, name, whole):
                return had
    return ""


def _may_be(had: str, rule: Resource, name: Name, whole: Whole) -> bool:
    return name.text == had or (not name.certain and may_be_name(had, rule.name, whole.functions))


def _of_whole(rule: Resource, whole: Whole, ways: Sequence[str]) -> Iterator[Answer]:
    for function in whole.functions:
        said = all_of(_of_function(rule, function, ways))
        alone = len(whole.functions) == 1 or (said.fits and said.certain)
        yield said if alone else replace(said, reason=f"{title(function)}: {said.reason}")
    if whole.problem:
        yield Answer(fits=False, reason=whole.problem, certain=False)


def _of_function(rule: Resource, function: Function, ways: Sequence[str]) -> Iterator[Answer]:
    """Of one that makes no sense nothing is certain, but that it is there."""
    if problem := problem_of(function, rule):
        yield Answer(fits=False, reason=f"it is quarantined: {problem}", certain=False)
        return
    yield any_of(rule.match, function)
    if function.waiting_for:
        yield Answer(fits=False, reason=f"it cannot be used as it is: {function.waiting_for}", certain=False)
    if rule.program is not None:
        yield from _programmed(rule.program, function, ways)
    elif rule.reset and not function.resettable:
        yield Answer(fits=False, reason="it cannot be reset, as it should be before each container", certain=False)


def _programmed(program: Program, function: Function, ways: Sequence[str]) -> Iterator[Answer]:
    usable = [program.way] if program.way != "auto" else [*ways]
    if "command" not in usable:
        if not function.programmable:
            yield Answer(fits=False, reason="it offers no way of programming it", certain=False)
        elif {*usable}.isdisjoint(function.programmable):
            offered, allowed = " and ".join(function.programmable), " and ".join(usable)
            yield Answer(fits=False, reason=f"it could be programmed by {offered}, and what may be used is {allowed}")
    if wanted := bare_id(program.interface_id):
        found = known_id(function.interface_id)
        if not found:
            yield Answer(fits=False, reason="its interface id is not known, which the bitstream must fit", certain=False)
        elif found != wanted:
            yield Answer(fits=False, reason=f"its interface id is {found}, and the bitstream fits {wanted}")


# --- what is worth a sentence -----------------------------------------------------------------------------------------------


def _left(functions: Iterable[Function]) -> Iterator[str]:
    """Functions that nobody gets, which may be meant so or not."""
    by_reason: dict[str, list[Function]] = {}
    for function in functions:
        by_reason.setdefault(function.waiting_for, []).append(function)
    for reason, left in by_reason.items():
        counted = f"{len(left)} FPGA function{'' if len(left) == 1 else 's'}"
        yield (
            f"{counted} not offered: {reason} ({titles(left)})"
            if reason
            else f"{counted} that no resource takes: {titles(left)}"
        )


def _shadowed(rules: Sequence[Resource]) -> Iterator[str]:
    """Resources that can never have a function, since one before takes all that fits."""
    for number, rule in enumerate(rules):
        greedy = [each for each in rules[:number] if each.unit == "function" and each.program is None and not each.reset]
        covering = [
            next((each for each in greedy if not each.match or match in each.match), None) for match in rule.match or (None,)
        ]
        names = dict.fromkeys(each.name for each in covering if each is not None)
        if None not in covering:
            yield f"{rule.name} can never have a function: {' and '.join(names)} before it take{'s' * (len(names) == 1)} them all"


def _daring(rules: Iterable[Resource]) -> Iterator[str]:
    for rule in rules:
        if daring := [role for role in dict.fromkeys(rule.nodes) if role in {"fme", "management"}]:
            yield f"containers with {rule.name} get the node for {' and '.join(daring)}, and can change what others use"

"""Which resource has which device: the first whose match fits, in the order of the configuration.

Pure: one report and one configuration give one offer, whatever order the devices come in. A device that is in use must not change its
resource merely because something is not seen for a while (its interface, which a pod has now; its rate, while the port is down): it
would be free under another name. So what it belonged to before is asked for, and keeps it until that is certainly wrong.
"""

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from supervisor import natural_order
from supervisor_infiniband import pci
from supervisor_infiniband.config import InfinibandConfig, Match, Pool
from supervisor_infiniband.matching import FITS, Answer, answer, words
from supervisor_infiniband.report import RdmaDevice, Report
from supervisor_infiniband.units import Offer, Unit, units_of

_TOLD = 5
"""Matches, or devices, that one sentence tells one by one."""


class _Choice(Struct, frozen=True):
    """What the rules say of one device."""

    device: RdmaDevice
    pool: Pool | None
    reasons: tuple[str, ...]


def offer(report: Report, config: InfinibandConfig, before: Mapping[str, object] | None = None) -> Offer:
    """The offer for what a look has found.

    ``before`` is ``Offer.taken`` of the offer before, be it another process's or by another configuration: what it says of resources
    that are not configured, or in words that make no sense, counts nothing.
    """
    choices = [_choose(device, owner, config.pools, (before or {}).get(device.id)) for device, owner in _devices(report)]
    units: list[Unit] = []
    for pool in config.pools:
        units += units_of(pool, [choice.device for choice in choices if choice.pool is pool])
    filled = {unit.resource for unit in units}
    return Offer(
        units=tuple(units),
        resources=tuple(pool.resource for pool in config.pools if config.resources or pool.resource in filled),
        reasons={name: (why,) for name, why in report.refused.items()} | {each.device.id: each.reasons for each in choices},
        taken={choice.device.id: choice.pool.resource for choice in choices if choice.pool},
        notices=(*_left(choices), *_shadowed(config.pools)),
    )


def title(device: RdmaDevice) -> str:
    """How people name a device: ``mlx5_0 (0000:3b:00.0)``."""
    return f"{device.name} ({device.id})" if device.name else device.id


def titles(devices: Sequence[RdmaDevice]) -> str:
    """The first few by their titles, and how many more there are."""
    return ", ".join(map(title, devices[:_TOLD])) + (f" and {len(devices) - _TOLD} more" if len(devices) > _TOLD else "")


def _devices(report: Report) -> Iterator[tuple[RdmaDevice, RdmaDevice | None]]:
    """Each device, the first of those with one id, and the physical function of a VF or SF where it is an RDMA device itself."""
    ordered = sorted(report.devices, key=lambda each: (pci.order(each.id), natural_order(each.name)), reverse=True)
    by_id = {device.id: device for device in ordered}
    owners = {device.pci: device for device in ordered if device.kind == "pf"} | by_id
    for device in reversed(by_id.values()):
        yield device, owners.get(device.pf)


# --- one device -------------------------------------------------------------------------------------------------------------


def _choose(device: RdmaDevice, owner: RdmaDevice | None, pools: Sequence[Pool], had: object) -> _Choice:
    if device.problem and had not in [pool.resource for pool in pools]:
        return _Choice(device, None, (f"it is quarantined: {device.problem}",))
    answers = _asked(device, owner, pools)
    kept = next((number for number, pool in enumerate(pools[: len(answers)]) if pool.resource == had), None)
    if kept is not None and not _keeps(answers[kept], answers[:kept]):
        kept = None
    chosen = next((number for number, each in enumerate(answers) if each.fits), None) if kept is None else kept
    if chosen is None:
        return _Choice(device, None, tuple(_refused(*each) for each in zip(pools, answers, strict=False)))
    before = tuple(_refused(*each) for each in zip(pools, answers[:chosen], strict=False))
    return _Choice(device, pools[chosen], (*before, _took(pools[chosen], answers[chosen])))


def _asked(device: RdmaDevice, owner: RdmaDevice | None, pools: Sequence[Pool]) -> list[Answer]:
    """What each resource says in turn, down to the first that certainly takes it."""
    answers: list[Answer] = []
    for pool in pools:
        answers.append(_answer(pool, device, owner))
        if answers[-1].fits and answers[-1].certain:
            break
    return answers


def _keeps(own: Answer, earlier: Sequence[Answer]) -> bool:
    return (own.fits or not own.certain) and not any(each.fits and each.certain for each in earlier)


def _refused(pool: Pool, found: Answer) -> str:
    if found.fits:
        return f"{pool.resource} leaves it where it was, since {found.reason}"
    return f"{pool.resource} refuses it: {found.reason}"


def _took(pool: Pool, found: Answer) -> str:
    if found.fits:
        return f"{pool.resource} takes it" + (f": {found.reason}" if found.reason else "")
    return f"{pool.resource} keeps it, as before: {found.reason}"


# --- one device and one resource --------------------------------------------------------------------------------------------


def _answer(pool: Pool, device: RdmaDevice, owner: RdmaDevice | None) -> Answer:
    """Any match suffices. Of a device that makes no sense nothing is certain, but that it is there."""
    if device.problem:
        return Answer(fits=False, reason=f"it is quarantined: {device.problem}", certain=False)
    if not pool.match:
        return _whole(pool, None, device, FITS)
    found = [_whole(pool, match, device, answer(match, device, owner)) for match in pool.match]
    for each, match in zip(found, pool.match, strict=True):
        if each.fits and each.certain:
            return Answer(fits=True, reason=words(match))
    doubts = [each for each in found if not each.certain]
    if fitting := [each for each in doubts if each.fits]:
        return fitting[0]
    return Answer(fits=False, reason=_joint(found), certain=not doubts)


def _whole(pool: Pool, match: Match | None, device: RdmaDevice, found: Answer) -> Answer:
    """An exclusive physical function with virtual ones would be given away together with what others are using."""
    refused = found.certain and not found.fits
    if refused or not device.vfs or pool.mode != "exclusive" or (match is not None and match.has_vfs):
        return found
    return Answer(
        fits=False,
        reason=f"it has {device.vfs} virtual functions, which others may be using; a match with hasVfs: true takes it all the same",
    )


def _joint(found: Sequence[Answer]) -> str:
    if len(found) == 1:
        return found[0].reason
    told = "; ".join(f"match[{number}]: {each.reason}" for number, each in enumerate(found[:_TOLD]))
    return told + (f"; and {len(found) - _TOLD} matches more" if len(found) > _TOLD else "")


# --- what is worth a sentence -----------------------------------------------------------------------------------------------


def _left(choices: Sequence[_Choice]) -> Iterator[str]:
    """Devices that nobody gets, which may be meant so or not."""
    left = [choice.device for choice in choices if choice.pool is None and not choice.device.problem]
    if parents := [device for device in left if device.vfs]:
        yield f"{_counted(parents)} with virtual functions: not offered itself ({titles(parents)})"
    if others := [device for device in left if not device.vfs]:
        yield f"{_counted(others)} that no resource takes: {titles(others)}"


def _counted(devices: Sequence[RdmaDevice]) -> str:
    return f"{len(devices)} RDMA device{'' if len(devices) == 1 else 's'}"


def _shadowed(pools: Sequence[Pool]) -> Iterator[str]:
    """Resources that can never have a device, since each of their matches stands in one before, or one before takes all."""
    for number, pool in enumerate(pools):
        matches: Sequence[Match | None] = pool.match or (None,)
        covering = [next((each for each in pools[:number] if _covers(each, pool, match)), None) for match in matches]
        names = dict.fromkeys(each.resource for each in covering if each is not None)
        if None not in covering:
            yield f"{pool.resource} can never have a device: {' and '.join(names)} before it take{'s' * (len(names) == 1)} them all"


def _covers(earlier: Pool, pool: Pool, match: Match | None) -> bool:
    """Whether all that ``match`` gives to ``pool`` is gone by then."""
    if earlier.match and match not in earlier.match:
        return False
    asks = None if match is None else match.has_vfs
    leaves_parents = earlier.mode == "exclusive" and not (earlier.match and asks)
    takes_parents = asks or (asks is None and pool.mode != "exclusive")
    return not (leaves_parents and takes_parents)

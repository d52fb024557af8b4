"""The whole of it: ask, prove, remove; files of plugins first, since only the memory beside our own files says where they are."""

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from msgspec import Struct

from supervisor.cleanup.files import give_way, records, remove, sockets
from supervisor.cleanup.proof import Pace, Proof, Verdict
from supervisor.cleanup.readings import Place, held, read
from supervisor.kubelet.sockets import look_at
from supervisor.ledger import Holding, Reading
from supervisor.model import Leftover

POLL = 0.5
"""Seconds for which a supervisor that has come meanwhile waits for us, at most."""
MOST_NAMED = 5
"""Holders in one sentence."""


class Asked(Struct, frozen=True):
    """What the plugins have left."""

    leftovers: tuple[Leftover, ...] = ()
    problems: tuple[str, ...] = ()
    """Why some plugin could not say what it has left."""


Ask = Callable[[Mapping[str, frozenset[str]]], Asked]
"""Ask all plugins, by the devices that are held."""


class Kept(Struct, frozen=True):
    """A file that is still there."""

    path: str
    reason: str
    holders: tuple[Holding, ...] = ()


class Cleaned(Struct, frozen=True):
    """What came of it."""

    removed: tuple[str, ...] = ()
    """In a dry run: what would go."""
    kept: tuple[Kept, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        return not (self.kept or self.problems)


def survey(place: Place, ask: Ask) -> Cleaned:
    """A dry run: what would go now, and what would stay. One reading; changes nothing."""
    reading = read(place)
    asked = ask(held(reading))
    kept = tuple(_kept(each, reading) for each in asked.leftovers if each.needed_by or not reading.complete)
    going = [each.path for each in asked.leftovers if not each.needed_by and reading.complete]
    own = sockets(place.directory) + (() if kept or asked.problems else records(place.directory))
    return Cleaned((*going, *map(str, own)), kept, asked.problems)


def clean(place: Place, ask: Ask, pace: Pace, *, force: bool = False, tell: Callable[[str], None] = lambda _: None) -> Cleaned:
    """Remove what nobody needs. Blocks for as long as the proof takes, and ``pace.wait`` seconds for what is held.

    ``force``: remove it all at once, needed or not. ``tell`` is told why it waits. Raises ``NodeError`` when a supervisor comes
    meanwhile: what is left is that one's then.
    """
    removed: list[str] = []
    problems: dict[str, None] = {}
    for path in sockets(place.directory):
        _drop(str(path), removed, problems)
    asked, kept = _prove(place, ask, pace, force=force, tell=tell, drop=lambda each: _drop(each, removed, problems))
    if not kept and not problems and (force or not asked.problems):
        for path in records(place.directory):
            _drop(str(path), removed, problems)
    return Cleaned(tuple(removed), kept, (*asked.problems, *problems))


def _prove(
    place: Place, ask: Ask, pace: Pace, *, force: bool, tell: Callable[[str], None], drop: Callable[[str], None]
) -> tuple[Asked, tuple[Kept, ...]]:
    """Read until everything has been dropped, or is held for longer than anybody waits: what is left then."""
    proof, began, told = Proof(pace), time.monotonic(), ""
    while True:
        reading = read(place)
        asked = ask(held(reading))
        verdict = proof.judge(reading, asked.leftovers, look_at(place.directory).kubelet, time.time())
        if force:
            verdict = Verdict(free=asked.leftovers)
        give_way(place.directory)
        for each in verdict.free:
            drop(each.path)
        late = time.monotonic() - began >= pace.wait
        if not verdict.pending and (late or not verdict.held):
            return asked, tuple(_kept(each, reading) for each in verdict.held)
        if (why := _why(verdict, reading)) != told:
            tell(why)
            told = why
        _pause(proof.next_at(reading), place.directory)


def _pause(until: float, directory: Path) -> None:
    """Raises ``NodeError`` as soon as a supervisor wants the node."""
    while (left := until - time.monotonic()) > 0:
        give_way(directory)
        time.sleep(min(POLL, left))


def _why(verdict: Verdict, reading: Reading) -> str:
    if verdict.held:
        return f"waiting: {_kept(verdict.held[0], reading).reason}"
    return "waiting: another reading has to confirm that nobody holds the devices"


def _drop(path: str, removed: list[str], problems: dict[str, None]) -> None:
    if problem := remove(Path(path)):
        problems[problem] = None
    else:
        removed.append(path)


def _kept(leftover: Leftover, reading: Reading) -> Kept:
    if not reading.complete:
        return Kept(leftover.path, f"who holds devices cannot be read: {reading.reason}")
    needed = frozenset(leftover.needed_by)
    holders = tuple(each for each in (*reading.holdings, *reading.unlisted) if each.device_id in needed)
    return Kept(leftover.path, _sentence(holders, {id(each) for each in reading.unlisted}), holders)


def _sentence(holders: Iterable[Holding], unlisted: set[int]) -> str:
    names = sorted({_name(each, unsure=id(each) in unlisted) for each in holders})
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return (
        f"needed by {', '.join(names[:MOST_NAMED])}{more}" if names else "another reading has to confirm that nobody needs it"
    )


def _name(holding: Holding, *, unsure: bool) -> str:
    pod = f"pod {holding.namespace}/{holding.pod}" if holding.namespace else f"the pod with UID {holding.pod}"
    known = " (only the kubelet's checkpoint says so)" if unsure else ""
    return f"{pod}, container {holding.container}{known}"

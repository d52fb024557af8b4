"""A look at all functions."""

import os
import threading
import time
from collections.abc import Mapping
from functools import partial

from msgspec import Struct, structs

from supervisor import Crew, Host, HostView
from supervisor_fpga.backends.attributes import Attributes
from supervisor_fpga.backends.protocol import BackEnd, Found
from supervisor_fpga.pci import order
from supervisor_fpga.report import Function, Report
from supervisor_fpga.sysfs.families import families
from supervisor_fpga.sysfs.messages import NO_DRIVER, Options
from supervisor_fpga.sysfs.presence import Fingerprint, fingerprint, may_have_some, unbound

MOST = 1024
"""Functions of one look."""

Key = tuple[str, str]
"""A function: its back end, and where it is."""
Answers = Mapping[Key, Function]


class Known(Struct, frozen=True):
    """One function of the newest look."""

    found: Function
    said: Function | None = None
    """``None`` for one that never answered."""
    silent: bool = False

    @property
    def function(self) -> Function:
        """As it is told of. What needs no answer of one that is silent is as it was found now."""
        if self.said is None:
            return structs.replace(self.found, unresponsive=self.silent)
        if not self.silent:
            return self.said
        now = self.found
        return structs.replace(self.said, driver=now.driver, nodes=now.nodes, waiting_for=now.waiting_for, unresponsive=True)


class Taken(Struct, frozen=True):
    """The newest look."""

    number: int
    report: Report
    fingerprint: Fingerprint
    found: tuple[Found, ...]
    """By each back end."""
    known: Mapping[Key, Known]
    """Refused ones, too."""


class Survey:
    """Looks, and what the newest one has found. ``lock`` keeps looks and polls apart: each card is read by one thread at a time."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.host = Host(sysfs=options.sysfs, dev=options.dev)
        self.crew: Crew[str, Answers] = Crew()
        self.lock = threading.Lock()
        self.taken: Taken | None = None
        self._back_ends: Mapping[str, BackEnd] = {one.name: one for one in families(options)}
        self._attributes = Attributes(self.host)

    def look(self) -> Taken:
        """Look at everything. Raises ``OSError`` where there is no sysfs, which is not the same as one without FPGAs."""
        with self.lock:
            self.taken = self._look()
            return self.taken

    def mark(self) -> Fingerprint:
        """What changes when something comes or goes."""
        return fingerprint(self.host, self.options.declared)

    def find(self, view: HostView) -> tuple[Found, ...]:
        """What each back end finds; no hardware is asked."""
        return tuple(one.find(view) for one in self._back_ends.values())

    def ask(self, functions: Mapping[Key, Function]) -> dict[Key, Function]:
        """What the hardware says of those that answer in time; what has gone meanwhile says nothing. Call it with ``lock`` held.

        A card whose controller is slow is waited for; one that hangs costs that time once, and is left alone until it has come back.
        """
        cards: dict[str, dict[Key, Function]] = {}
        for key, function in functions.items():
            cards.setdefault(card_of(function), {})[key] = function
        jobs = {card: partial(self._ask, members) for card, members in cards.items()}
        answers = self.crew.read(jobs, lambda _: self.options.patience)
        return {key: function for said in answers.values() for key, function in said.items()}

    def _ask(self, functions: Mapping[Key, Function]) -> Answers:
        said = {key: self._back_ends[key[0]].read(self._attributes, function) for key, function in functions.items()}
        return {key: function for key, function in said.items() if self._attributes.names(function.path)}

    def _look(self) -> Taken:
        os.listdir(f"{self.host.sysfs}/class")  # raises where no sysfs is mounted
        mark = self.mark()
        view = HostView(self.host)
        found = self.find(view)
        functions: dict[Key, Function] = {(one.backend, one.path): one for each in found for one in each.functions[:MOST]}
        known = self._known(functions)
        return Taken(time.monotonic_ns(), self._report(view, found, known), mark, found, known)

    def _known(self, functions: Mapping[Key, Function]) -> dict[Key, Known]:
        """Ask each. What one that is silent said last is kept."""
        before = self.taken.known if self.taken is not None else {}
        old = {key: before[key].said for key in functions if key in before}
        answers = self.ask(functions)
        known = {}
        for key, function in functions.items():
            if key in answers:
                known[key] = Known(function, answers[key])
            elif self.crew.waiting(card_of(function)) > 0:
                known[key] = Known(function, old.get(key), silent=True)
            elif self._attributes.names(function.path):  # otherwise it has gone meanwhile
                known[key] = Known(function, structs.replace(function, problem="it could not be read"))
        return known

    def _report(self, view: HostView, found: tuple[Found, ...], known: Mapping[Key, Known]) -> Report:
        functions: dict[str, Function] = {}
        held: dict[str, Function] = {}
        refused = {name: why for each in found for name, why in each.refused.items()}
        for one in known.values():
            function = one.function
            if not function.id:
                refused[function.name] = (
                    function.problem or "it does not answer, and only it knows which port of its card it is"
                )
            elif (other := _rival(function, held)) is not None:
                name = f"{function.name} ({function.backend})" if function.name in {other.id, other.name} else function.name
                refused[name] = f"{function.id} is already a function of {other.backend}, {other.name}"
            else:
                functions[function.id] = function
                for place in (function.id, function.pci, function.path):
                    held.setdefault(place, function)
        refused = unbound(view, {function.pci for function in functions.values()} | refused.keys()) | refused
        notices = [*(notice for each in found for notice in each.notices), *view.problems]
        if not functions and not may_have_some(self.host):
            notices.append(NO_DRIVER)
        ordered = tuple(sorted(functions.values(), key=lambda function: order(function.id)))
        return Report(ordered, tuple(notices), refused, self.options.simulated)


def _rival(function: Function, held: Mapping[str, Function]) -> Function | None:
    """Who has its id, or as another back end's function its hardware. ``held``: functions by id, PCI address and directory."""
    others = (held.get(place) for place in (function.id, function.pci, function.path) if place)
    return next((each for each in others if each and (each.id == function.id or each.backend != function.backend)), None)


def card_of(function: Function) -> str:
    """What is asked by one thread: a card that hangs takes all its functions with it."""
    return function.card or function.path

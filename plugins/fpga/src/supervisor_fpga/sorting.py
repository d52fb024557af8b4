"""Who gets what, when each rule has said what it thinks of each function: in the order of the rules, and nothing twice."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec import Struct

from supervisor_fpga.config import Resource
from supervisor_fpga.matching import Answer
from supervisor_fpga.naming import Name
from supervisor_fpga.report import Function
from supervisor_fpga.units import Unit, Whole, titles, unit_id


class Question(Struct, frozen=True):
    """What one rule says of what it would offer as one."""

    rule: Resource
    whole: Whole
    answer: Answer
    name: Name
    had: str = ""
    """The name that it had by this rule before, if it may have it still."""

    @property
    def keeps(self) -> bool:
        """Whether it may stay, as far as is known."""
        return bool(self.had) and (self.answer.fits or not self.answer.certain)


class Sorted(Struct, frozen=True):
    """What came of all questions."""

    units: Sequence[Unit]
    taken: Mapping[str, Mapping[str, str]]
    """The resources of each function that has one, by id, with the templates of their names."""
    told: Mapping[str, Sequence[str]]
    """What each rule in turn said of each function, down to the one that took it."""
    unnamed: Mapping[str, str]
    """Functions that a rule would have taken if they had a name or id that can be used, with the reason."""


def sort_out(questions: Iterable[Question]) -> Sorted:
    """Answer all.

    A rule that takes something only since a fact is missing leaves it to one that had it before. Where that one cannot have it any
    more, since others of its whole are taken, it is no longer asked for.
    """
    asked = list(questions)
    kept = {function.id for each in asked if each.keeps for function in each.whole.functions}
    while True:
        sorting = _Sorting(kept)
        for question in asked:
            sorting.ask(question)
        lost = kept - sorting.taken.keys()
        if not lost:
            return Sorted(sorting.units, sorting.taken, sorting.told, sorting.unnamed)
        kept -= lost


class _Sorting:
    """The state while the questions are asked one by one."""

    def __init__(self, kept: Collection[str]) -> None:
        self.units: list[Unit] = []
        self.taken: dict[str, dict[str, str]] = {}
        self.told: dict[str, list[str]] = {}
        self.unnamed: dict[str, str] = {}
        self._kept = kept
        self._programmed: set[str] = set()
        """Functions for other rules that program them, too."""
        self._closed: set[str] = set()
        self._doubted: set[str] = set()
        """Functions that a rule might have taken, if all were known of them."""
        self._ids: set[str] = set()

    def ask(self, question: Question) -> None:
        rule, answer, name, functions = question.rule, question.answer, question.name, question.whole.functions
        free = [each for each in functions if self._is_free(each, rule)]
        others = [each for each in functions if each not in free]
        if not free:
            return
        if others:
            self._tell(free, f"{rule.name} refuses it: {titles(others)} of its {rule.unit} is taken already")
        elif not question.keeps and not answer.fits:
            self._tell(free, f"{rule.name} refuses it: {answer.reason}")
            self._doubted |= set() if answer.certain else {each.id for each in free}
        elif not question.keeps and any(each.id in self._kept for each in functions) and (doubt := self._doubt(question)):
            self._tell(free, f"{rule.name} leaves it where it was, since {doubt}")
        elif answer.fits and name.text:
            self._take(question, name.text, f"{rule.name} takes it{_as(rule, name.text)}{_since(answer.reason)}")
        elif question.keeps:
            why = name.problem if answer.fits else answer.reason
            self._take(question, question.had, f"{rule.name} keeps it{_as(rule, question.had)}, as before: {why}")
        else:
            self._quarantine(question, name.problem)

    def _is_free(self, function: Function, rule: Resource) -> bool:
        return function.id not in self._closed and (rule.program is not None or function.id not in self._programmed)

    def _doubt(self, question: Question) -> str:
        """Why a rule that would take it might not, if all were known; empty: it would."""
        if not question.answer.certain:
            return question.answer.reason
        doubted = [each for each in question.whole.functions if each.id in self._doubted]
        return f"a rule before might take {titles(doubted)}" if doubted else ""

    def _take(self, question: Question, resource: str, sentence: str) -> None:
        functions = question.whole.functions
        unit = Unit(unit_id(question.whole, question.rule, resource), resource, question.rule, functions)
        if any(resource in self.taken.get(each.id, {}) for each in functions):
            self._tell(functions, f"{question.rule.name} refuses it: it is offered as {resource} already")
        elif unit.id in self._ids:
            self._quarantine(question, f"its id {unit.id} is that of another one")
        else:
            self._ids.add(unit.id)
            self.units.append(unit)
            self._tell(functions, sentence)
            for each in functions:
                (self._closed if question.rule.program is None else self._programmed).add(each.id)
                self.taken.setdefault(each.id, {})[resource] = question.rule.name

    def _quarantine(self, question: Question, why: str) -> None:
        """No rule after it takes it: it would be another's as soon as its name is known."""
        self._tell(question.whole.functions, f"{question.rule.name} would take it, and cannot: {why}")
        for each in question.whole.functions:
            self._closed.add(each.id)
            self.unnamed[each.id] = why

    def _tell(self, functions: Iterable[Function], sentence: str) -> None:
        for each in functions:
            self.told.setdefault(each.id, []).append(sentence)


def _as(rule: Resource, resource: str) -> str:
    return "" if rule.literal else f" as {resource}"


def _since(reason: str) -> str:
    return f": {reason}" if reason else ""

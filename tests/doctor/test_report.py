"""Findings on paper: aligned, with their cures, coloured only where that helps, and as a document."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.cli.report import as_json, as_text, count, summary, wants_colour
from supervisor.model import Finding

GOOD = Finding("ok", "kubelet.sock", "The kubelet accepts connections.")
BAD = Finding("failure", "driver", "It is not there.", "Install it.")
GROUPS = {"kubelet": [GOOD, BAD], "nothing": [], "clock": [Finding("note", "a", "b")]}

TEXT = """\
kubelet
  ok       kubelet.sock  The kubelet accepts connections.
  failure  driver        It is not there.
                         Cure: Install it.

clock
  note     a  b

This node needs a cure: 1 failure, 0 warnings, 1 note, 1 fine."""


def test_people_read_aligned_groups() -> None:
    """An empty group is left out, and the last line counts."""
    assert as_text(GROUPS) == TEXT


def test_a_healthy_node_is_told_so() -> None:
    """Warnings do not stand in the way."""
    groups = {"kubelet": [GOOD, Finding("warning", "a", "b", "c")]}
    assert summary(groups) == "Nothing stands in the way: 0 failures, 1 warning, 0 notes, 1 fine."


def test_colour_changes_nothing_else() -> None:
    """Without its codes, the text is the same."""
    coloured = as_text(GROUPS, colour=True)
    for code in ("\033[1;31m", "\033[33m", "\033[36m", "\033[32m", "\033[0m"):
        coloured = coloured.replace(code, "")
    assert coloured == TEXT


class Terminal(io.StringIO):
    """A stream that is one."""

    def isatty(self) -> bool:
        return True


def test_only_a_terminal_gets_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless its user does not want it, or it cannot."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert wants_colour(Terminal())
    assert not wants_colour(io.StringIO())
    monkeypatch.setenv("TERM", "dumb")
    assert not wants_colour(Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_colour(Terminal())


def test_programs_read_a_document() -> None:
    """Versioned, with the counts, and each field of each finding."""
    assert as_json(GROUPS) == {
        "version": 1,
        "summary": {"failure": 1, "warning": 0, "note": 1, "ok": 1},
        "groups": [
            {
                "name": "kubelet",
                "findings": [
                    {"level": "ok", "subject": "kubelet.sock", "text": "The kubelet accepts connections.", "cure": ""},
                    {"level": "failure", "subject": "driver", "text": "It is not there.", "cure": "Install it."},
                ],
            },
            {"name": "clock", "findings": [{"level": "note", "subject": "a", "text": "b", "cure": ""}]},
        ],
    }


FINDINGS = st.builds(
    Finding,
    st.sampled_from(["ok", "note", "warning", "failure"]),
    st.text(min_size=1, max_size=90),
    st.text(min_size=1),
    st.text(),
)


@given(st.dictionaries(st.text(alphabet="abc", min_size=1), st.lists(FINDINGS, max_size=4), max_size=3))
def test_any_finding_can_be_shown(groups: dict[str, list[Finding]]) -> None:
    """Names of files are whatever strangers gave them: each line is printable, and none is lost."""
    text = as_text(groups)
    assert all(line.isprintable() for line in text.split("\n"))
    assert sum(count(groups).values()) == sum(map(len, groups.values()))
    starts = ("  ok  ", "  note  ", "  warning  ", "  failure  ")
    assert sum(line.startswith(starts) for line in text.split("\n")) == sum(map(len, groups.values()))

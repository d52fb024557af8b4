"""A supervisor through some minutes of every kind of life at once; ``make soak`` gives it an hour."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.system import soak
from tests.system.rig import Puppet
from tests.system.soak import MOST_MEMORY, Sample, Usage, growth, problems

MINUTES = float(os.environ.get("MINUTES", "3"))


@pytest.mark.slow
@pytest.mark.requires("patience")
@pytest.mark.timeout(120 + 120 * MINUTES)
def test_nothing_grows(puppet: Puppet, short_dir: Path) -> None:
    """Memory stays in its bounds while pods, kubelets, configurations, scrapers and attackers come and go."""
    assert soak.soak(short_dir, MINUTES, print) == []


# --- the measure itself -----------------------------------------------------------------------------------------------


def used(rss: float, threads: int = 10, descriptors: int = 30) -> Usage:
    return Usage(rss, threads, descriptors)


def measured(*memory: float) -> Sequence[Sample]:
    return [Sample(float(at), used(rss)) for at, rss in enumerate(memory)]


STEADY = measured(50.0, 51.0, 50.0, 51.0, 50.0)


@pytest.mark.parametrize(
    ("samples", "after", "words"),
    [
        (STEADY, used(50.0), []),
        (STEADY, used(50.0, threads=9, descriptors=29), []),
        (STEADY, used(50.0, threads=20), ["threads"]),
        (STEADY, used(50.0, descriptors=31), ["descriptors"]),
        (measured(50.0, MOST_MEMORY + 0.5, 50.0), used(50.0), ["resident"]),
        (measured(50.0, 51.0, 52.0, 53.0, 54.0), used(50.0), ["grown"]),
        (measured(54.0, 53.0, 52.0, 51.0, 50.0), used(50.0), []),
    ],
)
def test_what_is_wrong(samples: Sequence[Sample], after: Usage, words: list[str]) -> None:
    """Each bound is told when it is passed, and nothing else."""
    found = problems(samples, used(50.0), after)
    assert len(found) == len(words)
    assert all(word in text for word, text in zip(words, found, strict=True))


def test_growth_is_that_of_the_line() -> None:
    """One peak is no growth, and a slow rise beneath the noise is."""
    assert growth(measured(50.0, 50.0, 60.0, 50.0, 50.0)) == pytest.approx(0.0)
    assert growth(measured(50.0, 52.0, 51.0, 53.0, 52.0, 54.0)) == pytest.approx(3.0, abs=0.5)

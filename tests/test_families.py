"""The metrics of plugins at the border: what is good comes through, what is wrong is left out alone and told."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import MetricFamily, Sample
from supervisor.families import (
    MOST_FAMILIES,
    MOST_PROBLEMS,
    MOST_SAMPLES,
    check_families,
    exposed_name,
    without_others,
)


def family(name: str = "faults", *samples: Any, kind: Any = "gauge") -> MetricFamily:
    """A metric with samples given as pairs of labels and value."""
    return MetricFamily(name, "Help.", kind, tuple(Sample(labels, value) for labels, value in samples))


def checked(*found: Any, plugin: str = "acme") -> tuple[list[MetricFamily], list[str]]:
    """What comes through, and what is told."""
    families, problems = check_families(plugin, found)
    return list(families), list(problems)


def test_good_metrics_come_through() -> None:
    """All kinds, also without labels, without samples and from a generator."""
    good = [
        family("faults", ({"gadget": "A", "kind": "heat"}, 2), ({"gadget": "A", "kind": "ecc"}, 0), kind="counter"),
        family("temperature_celsius", ({}, -7.5)),
        family("driver", ({"version": "1.0"}, 1), kind="info"),
        family("nothing"),
    ]

    def generated() -> Iterator[MetricFamily]:
        yield from good

    assert checked(*good) == (good, [])
    assert check_families("acme", generated()) == (tuple(good), ())


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        ("faults", "metric <str> is left out: it is str, not MetricFamily"),
        (family("Faults"), "metric 'Faults' is left out: name: Expected a name of at most 100"),
        (family("a" * 101), "name: Expected a name"),
        (family("9lives"), "name: Expected a name"),
        (family(5), "metric <MetricFamily> is left out: name: Expected `str`, got `int`"),  # type: ignore[arg-type]  # the point
        (family(kind="histogram"), "kind: Invalid enum value 'histogram'"),
        (MetricFamily("faults", "x" * 513), "help: Expected `str` of length <= 512"),
        (MetricFamily("faults", "\udc80"), "metric 'faults' is left out"),
        (MetricFamily("faults", "", samples=5), "its samples are int, not a tuple of Sample"),  # type: ignore[arg-type]  # the point
        (MetricFamily("faults", "", samples=iter(())), "not a tuple of Sample"),  # type: ignore[arg-type]  # the point
    ],
)
def test_a_bad_metric_is_left_out_alone(found: Any, problem: str) -> None:
    """Its neighbour stays, and its author reads why."""
    families, (told,) = checked(found, family("good"))
    assert families == [family("good")]
    assert problem in told


@pytest.mark.parametrize(
    ("labels", "value", "problem"),
    [
        ({"gadget": "B"}, float("nan"), "its value is nan"),
        ({"gadget": "B"}, float("inf"), "its value is inf"),
        ({"gadget": "B"}, -1, "a counter is never negative, this one is -1"),
        ({"gadget": "B"}, "1", "value: Expected `float`, got `str`"),
        ({"gadget": "B"}, True, "value: Expected `float`, got `bool`"),
        ({"gadget": "A"}, 2, "another one has the same labels"),
        ({"board": "B"}, 2, "the first one has the labels ['gadget']"),
        ({}, 2, "all must have the same"),
        ({"gadget": "B", "board": "C"}, 2, "all must have the same"),
        ({"gadget": "x" * 257}, 2, "Expected `str` of length <= 256"),
        ({"gadget": 5}, 2, "Expected `str`, got `int`"),
        ({"gadget": "\udc80"}, 2, "codec can't encode"),
        ({"Gadget": "B"}, 2, "Expected a name of at most 100 of [a-z0-9_] that begins with a letter"),
        ("B", 2, "labels: Expected `object`, got `str`"),
    ],
)
def test_a_bad_sample_is_left_out_alone(labels: Any, value: Any, problem: str) -> None:
    """The metric keeps its other samples."""
    first, last = ({"gadget": "A"}, 1), ({"gadget": "Z"}, 1)
    families, (told,) = checked(family("faults", first, (labels, value), last, kind="counter"))
    assert families == [family("faults", first, last, kind="counter")]
    assert told.startswith("sample")
    assert problem in told


def test_a_sample_that_is_none_is_left_out() -> None:
    """Whatever it is."""
    families, (told,) = checked(MetricFamily("faults", "Help.", samples=[5, Sample({}, 1)]))  # type: ignore[arg-type]  # the point
    assert families == [family("faults", ({}, 1))]
    assert told == "sample of metric 'faults' is left out: it is int, not Sample"


def test_an_info_is_always_one() -> None:
    """It tells something by its labels, not by its value."""
    families, (told,) = checked(family("driver", ({"version": "1"}, 2), kind="info"))
    assert families == [family("driver", kind="info")]
    assert "the value of an info is 1, not 2" in told


@pytest.mark.parametrize("second", [family("faults"), family("faults_total"), family("faults_info", kind="info")])
def test_one_name_is_one_metric(second: MetricFamily) -> None:
    """Suffixes that a format appends make no other name."""
    families, (told,) = checked(family("faults", kind="counter"), second)
    assert families == [family("faults", kind="counter")]
    assert "another one has this name" in told


@pytest.mark.parametrize(
    ("plugin", "name"),
    [
        ("plugin", "up"),
        ("config", "generation"),
        ("kubelet", "restarts_total"),
        ("discovery", "seconds_count"),
        ("device", "health"),
    ],
)
def test_the_supervisors_names_are_its_own(plugin: str, name: str) -> None:
    """However a plugin is called."""
    families, (told,) = checked(family(name), family("fine"), plugin=plugin)
    assert families == [family("fine")]
    assert "is a name of the supervisor's own" in told


def test_a_name_belongs_to_the_plugin_that_it_spells() -> None:
    """Dashes become underscores, so two plugins could mean one name: the longer plugin's name decides."""
    families, (told,) = without_others("acme", [family("x_faults"), family("y_faults")], ["acme", "acme-x", "other"])
    assert families == (family("y_faults"),)
    assert "device_plugin_acme_x_faults is a name of plugin acme-x" in told
    assert without_others("acme-x", [family("faults")], ["acme", "acme-x"]) == ((family("faults"),), ())


PLUGINS = st.lists(st.from_regex(r"\A[ab](-[ab]){0,2}\Z"), min_size=1, max_size=6, unique=True)
NAMES = st.from_regex(r"\A[ab](_[ab]){0,3}\Z")


@given(st.data(), PLUGINS)
def test_two_plugins_never_share_a_name(data: st.DataObject, plugins: list[str]) -> None:
    """Whatever they and their metrics are called."""
    exposed = []
    for plugin in plugins:
        own = {name: family(name) for name in data.draw(st.lists(NAMES))}
        families, _ = without_others(plugin, own.values(), plugins)
        exposed += [exposed_name(plugin, each.name) for each in families]
    assert len(exposed) == len(set(exposed))


def test_a_plugin_has_so_many_metrics_and_no_more() -> None:
    """The first ones stay."""
    families, (told,) = checked(*(family(f"a{number}") for number in range(MOST_FAMILIES + 5)))
    assert len(families) == MOST_FAMILIES
    assert "more than 50 metrics" in told


def test_a_plugin_has_so_many_samples_and_no_more() -> None:
    """In all its metrics together; the number of those left out is told."""
    many = [({"n": str(number)}, 0.0) for number in range(MOST_SAMPLES - 1)]
    families, (told,) = checked(family("a", *many), family("b", *many), family("c"))
    assert [len(each.samples) for each in families] == [MOST_SAMPLES - 1, 1, 0]
    assert told == f"{MOST_SAMPLES - 2} samples of 'b' are left out: a plugin has at most {MOST_SAMPLES}"


def test_a_flood_of_mistakes_is_told_in_short() -> None:
    """Nobody reads ten thousand sentences."""
    _, told = checked(family("a", *(({}, 0.0) for _ in range(1000))))
    assert len(told) == MOST_PROBLEMS + 1
    assert told[-1] == f"{999 - MOST_PROBLEMS} more mistakes in its metrics"


@pytest.mark.parametrize("found", [None, 5, "faults", {"faults": 1}])
def test_an_answer_that_is_no_list_is_told(found: Any) -> None:
    """The whole of it is left out."""
    families, (told,) = check_families("acme", found)
    assert families == ()
    assert told == f"collect_metrics() must return MetricFamily objects, not {type(found).__name__}"

"""The table of XIDs: its defaults, its models, and the rules that change it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_nvidia_gpu.config import XidAction, XidRule
from supervisor_nvidia_gpu.health.policy import DEFAULTS, MODELS, UNKNOWN, decide, default
from tests.plugins.nvidia_gpu.health.samples import H100

ACTIONS = st.sampled_from(["ignore", "event", "unhealthy", "until-reset"])
RULES = st.builds(
    XidRule,
    xid=st.one_of(st.integers(1, 200), st.just("all")),
    action=ACTIONS,
    model=st.sampled_from([None, "*H100*", "*a100*", "*"]),
    count=st.integers(1, 5),
)


@pytest.mark.parametrize("code", [13, 31, 43, 45, 68, 69, 94, 63, 92, 154])
def test_what_applications_do_takes_no_gpu_away(code: int) -> None:
    """Faults of applications, contained errors and merely informative numbers are told and counted, no more."""
    assert decide(code, H100).action == "event"


@pytest.mark.parametrize(
    ("code", "action"),
    [
        (48, "unhealthy"),
        (64, "unhealthy"),
        (74, "unhealthy"),
        (109, "unhealthy"),
        (119, "unhealthy"),
        (120, "unhealthy"),
        (62, "until-reset"),
        (79, "until-reset"),
        (95, "until-reset"),
        (140, "until-reset"),
    ],
)
def test_what_the_hardware_does_counts(code: int, action: XidAction) -> None:
    """A number whose repair may not be needed heals with quiet, one after which nothing but a reset helps does not."""
    assert decide(code, H100).action == action


def test_every_number_has_its_reason() -> None:
    """Each line says the fact that it rests on, short enough to be read on a list of devices."""
    assert all(5 < len(decision.why) < 120 for decision in (*DEFAULTS.values(), *(each for *_, each in MODELS), UNKNOWN))


@given(st.integers(175, 100_000), st.text(max_size=20))
def test_an_unknown_number_condemns_nothing(code: int, model: str) -> None:
    """It is told: a driver that is newer than the table says by its recovery action what the GPU needs."""
    assert decide(code, model) == UNKNOWN
    assert UNKNOWN.action == "event"


@pytest.mark.parametrize("model", ["Tesla V100-SXM2-32GB", "Tesla T4", "NVIDIA Tesla P100-PCIE-16GB", "Quadro RTX 6000"])
def test_models_without_containment_need_a_reset_after_a_double_bit_error(model: str) -> None:
    """Before Ampere nothing but a reset clears it; for all else these models follow the table."""
    assert decide(48, model).action == "until-reset"
    assert decide(31, model) == decide(31, H100)


@pytest.mark.parametrize("model", ["NVIDIA A100-SXM4-40GB", "NVIDIA L40S", "NVIDIA RTX PRO 4000 Blackwell", "NVIDIA GB200"])
def test_newer_models_are_not_taken_for_older_ones(model: str) -> None:
    """No pattern of an old model fits a new name by chance."""
    assert decide(48, model) == DEFAULTS[48]


def test_later_rules_win() -> None:
    """All off, then one on: what the environment variables for health checks ask for."""
    rules = (XidRule(xid="all", action="ignore"), XidRule(xid=79, action="unhealthy", count=3, window=5.0))
    assert decide(48, H100, rules).action == "ignore"
    told = decide(79, H100, rules)
    assert (told.action, told.count, told.window) == ("unhealthy", 3, 5.0)
    assert told.why == DEFAULTS[79].why
    assert decide(79, H100, rules[::-1]).action == "ignore"


def test_a_rule_for_a_model_is_for_that_model() -> None:
    """Its pattern is for the whole name, and upper or lower case is all the same."""
    rules = (XidRule(xid=48, action="ignore", model="*h100*"), XidRule(xid=48, action="until-reset", model="H100"))
    assert decide(48, H100, rules).action == "ignore"
    assert decide(48, "NVIDIA A100", rules) == DEFAULTS[48]


@given(st.lists(RULES, max_size=6), st.integers(1, 200), st.sampled_from([H100, "NVIDIA A100", ""]))
def test_the_last_rule_that_fits_decides(rules: list[XidRule], code: int, model: str) -> None:
    """Nothing but the last fitting rule counts; without one it is the default."""
    fitting = [
        each
        for each in rules
        if each.xid in {code, "all"} and (each.model in {None, "*"} or str(each.model).strip("*").lower() in model.lower())
    ]
    decision = decide(code, model, rules)
    assert decision.action == (fitting[-1].action if fitting else default(code, model).action)
    assert decision.count == (fitting[-1].count if fitting else 1)

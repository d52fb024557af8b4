"""The section ``kubernetes`` of the configuration."""

import pytest

from supervisor.config import DEFAULTS, KubernetesConfig, diff
from supervisor.config_file import parse
from supervisor.errors import ConfigError

HEAD = "apiVersion: device-plugin-supervisor/v1alpha1\nkind: SupervisorConfig\n"


def _parsed(section: str) -> KubernetesConfig:
    return parse(f"{HEAD}kubernetes: {section}\n".encode()).config.kubernetes


def test_all_of_it_is_off_unless_it_is_wanted() -> None:
    """A supervisor without a service account is the rule."""
    assert not DEFAULTS.kubernetes.wanted
    assert not _parsed("{nodeName: node-1}").wanted
    assert all(_parsed(f"{{{one}}}").wanted for one in ("events: true", "nodeCondition: Devices", "nodeInfo: true"))


def test_it_takes_effect_at_the_next_start() -> None:
    """What is switched on is made at the start, so an edit is reported as pending."""
    edited = parse(f"{HEAD}kubernetes: {{events: true}}\n".encode()).config
    assert diff(DEFAULTS, edited).pending == ("kubernetes",)


@pytest.mark.parametrize("kind", ["example.com/DevicesHealthy", "DevicesHealthy", "a.b/c", "", "x" * 63])
def test_types_of_conditions(kind: str) -> None:
    """A name, with or without a domain before it."""
    assert _parsed(f"{{nodeCondition: '{kind}'}}").node_condition == kind


@pytest.mark.parametrize(
    "section",
    ["{nodeCondition: 'two words'}", "{nodeCondition: /A}", "{nodeCondition: a/}", "{nodeCondition: a/b/c}", "{nodeCondition: Example.com/A}",
     f"{{nodeCondition: {'x' * 64}}}", f"{{nodeCondition: {'x' * 254}/A}}", "{nodeName: Node}", "{nodeName: a/b}", "{nodeName: -a}",
     f"{{nodeName: {'n' * 254}}}", "{event: true}", "{events: 1}"],
)  # fmt: skip
def test_what_the_api_would_refuse_is_refused_here(section: str) -> None:
    """With line and column, before anything is asked of a cluster."""
    with pytest.raises(ConfigError, match="3:"):
        _parsed(section)

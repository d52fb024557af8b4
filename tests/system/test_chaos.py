"""Any faults in any order: soon after each, what the kubelet has is what the plugins say."""

import pytest

from tests.system.chaos import FAULTS, report, run
from tests.system.rig import Puppet

EXAMPLES = 4
"""Each has every kind of fault once, in an order of its own; ``make chaos`` does more."""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_chaos(puppet: Puppet) -> None:
    """Every kind of fault ran, and none left the kubelet with anything else than what the plugins say."""
    ran = run(EXAMPLES)
    print(report(ran))
    assert ran.keys() == FAULTS.keys()

"""The test kit for plugin authors: does a plugin keep its contract, on a made-up machine and against a simulated kubelet?

``check_plugin`` puts one plugin object through everything that the supervisor will do with it. ``FakeHost`` is a machine made of
files, ``FakeMemory`` the memory that a package is given. The pytest fixtures ``fake_host``, ``kubelet`` and ``supervised`` are there
by themselves wherever this distribution is installed: a ``FakeHost``, a ``KubeletSimulator``, and a function of the type ``Supervise``
that starts the real supervisor.
"""

from supervisor.kubelet.simulator import KubeletSimulator
from supervisor.testing.conformance import check_plugin
from supervisor.testing.fakehost import FakeHost
from supervisor.testing.fakememory import FakeMemory
from supervisor.testing.packages import plugins_of
from supervisor.testing.report import Report
from supervisor.testing.supervised import Supervise, Supervised

__all__ = [
    "FakeHost",
    "FakeMemory",
    "KubeletSimulator",
    "Report",
    "Supervise",
    "Supervised",
    "check_plugin",
    "plugins_of",
]

"""The test kit for plugin authors: does a plugin keep its contract, on a made-up machine and against a simulated kubelet?

``check_plugin`` puts one plugin object through everything that the supervisor will do with it. ``FakeHost`` is a machine made of
files, ``FakeMemory`` the memory that a package is given. The pytest fixtures ``fake_host``, ``kubelet`` and ``supervised`` are there by themselves wherever this distribution is
installed.
"""

from supervisor.testing.conformance import check_plugin
from supervisor.testing.fakehost import FakeHost
from supervisor.testing.fakememory import FakeMemory
from supervisor.testing.packages import plugins_of
from supervisor.testing.report import Report

__all__ = ["FakeHost", "FakeMemory", "Report", "check_plugin", "plugins_of"]

"""Devices that are renamed while a look is on its way, as udev's rules do it right after they have come."""

import threading
from pathlib import Path

from supervisor_infiniband.simulate import changes
from supervisor_infiniband.simulate.layouts import layout
from supervisor_infiniband.simulate.tree import Tree
from supervisor_infiniband.sysfs.messages import Options
from supervisor_infiniband.sysfs.survey import Survey

ROUNDS = 60
PATIENCE = 60


def test_a_device_that_is_renamed_during_a_look_is_in_it(tmp_path: Path) -> None:
    """Listed under its old name and asked under that when it has the new one, it must not seem to have gone."""
    tree = Tree(tmp_path, layout("rails-8"))
    survey = Survey(Options(str(tree.sys), str(tree.dev)))
    ids = {function.id for function in tree.machine.functions}
    for at in range(ROUNDS):
        _, hca = tree.machine.find("0000:dc:00.0")
        renamed = changes.renamed(tree.machine, hca.name, f"ibp{at}")
        thread = threading.Thread(target=tree.become, args=(renamed,))
        thread.start()
        found = survey.look().report
        thread.join(PATIENCE)
        assert {device.id for device in found.devices} == ids
        assert not found.refused
    assert next(device.name for device in survey.look().report.devices if device.id == "0000:dc:00.0") == f"ibp{ROUNDS - 1}"
    tree.close()

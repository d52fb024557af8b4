"""The simulator judges the supervisor, so it must not share its mistakes."""

import ast
from pathlib import Path

from supervisor.kubelet import simulator

ALLOWED = ("supervisor.kubelet.protos", "supervisor.kubelet.simulator")


def test_the_simulator_shares_only_the_messages() -> None:
    """Of the supervisor's modules the simulator imports the generated messages and nothing else."""
    files = sorted(Path(simulator.__file__).parent.glob("*.py"))
    assert len(files) > 20
    for file in files:
        for statement in ast.walk(ast.parse(file.read_text())):
            names = []
            if isinstance(statement, ast.ImportFrom):
                names = [statement.module or ""]
            elif isinstance(statement, ast.Import):
                names = [alias.name for alias in statement.names]
            ours = [name for name in names if name.split(".")[0] == "supervisor" and name != "supervisor.kubelet"]
            assert all(name.startswith(ALLOWED) for name in ours), (file.name, ours)

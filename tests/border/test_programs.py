"""Programs: what may be run is what is installed, by name."""

from pathlib import Path

import pytest

from supervisor import BorderFailed
from supervisor.border.programs import installed as programs
from supervisor.border.programs import module_of


def test_programs_come_from_entry_points(installed: Path) -> None:
    """Each name leads to a module; none of them is imported to find out."""
    assert module_of("sample") == programs()["sample"] == "sample_program_module"


def test_a_name_that_is_not_installed_is_refused(installed: Path) -> None:
    """The names that there are help whoever misspelt one."""
    with pytest.raises(BorderFailed, match=r"no installed package has the program 'smaple'; there are: .*sample"):
        module_of("smaple")

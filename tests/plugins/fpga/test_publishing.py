"""CDI specs: written by the owner alone, true, there for as long as a pod may need them, and found by who cleans up."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from msgspec.structs import replace

from supervisor_fpga.cdi import PREFIX, class_of, name_of
from supervisor_fpga.leaving import leftovers
from supervisor_fpga.publishing import Published, Publisher
from supervisor_fpga.report import Function, Node, Report
from supervisor_fpga.rules import offer
from tests.plugins.fpga.functions import config_of, dfl, program, vfio

RESOURCE = "fpga.example/a"
CLASS = class_of(RESOURCE)
FILE = f"{PREFIX}vendor.example-{CLASS}.json"


class Place:
    """A directory, and one life of the plugin after the other on it."""

    def __init__(self, folder: Path, rule: str = "cdi: true") -> None:
        self.folder = folder
        self.memory: Mapping[str, list[str]] = {}
        self.begin(rule)

    def begin(self, rule: str, *, owner: bool = True) -> None:
        cdi = f"cdi: {{directory: {self.folder}, vendor: vendor.example}}"
        self.config = config_of(f"{{{cdi}, programming: [dfl-ioctl], resources: [{{name: {RESOURCE}, {rule}}}]}}")
        self.publisher = Publisher(self.config)
        if owner:
            self.publisher.take_over(self.memory)

    def look(self, *functions: Function, simulated: str = "") -> Published:
        report = Report(functions, simulated=simulated)
        found = self.publisher.look(offer(report, self.config).units, report)
        self.memory = self.publisher.remember()
        return found

    def defined(self) -> dict[str, list[str]]:
        spec = json.loads((self.folder / FILE).read_text())
        return {each["name"]: [node["path"] for node in each["containerEdits"]["deviceNodes"]] for each in spec["devices"]}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """One whose owner has just begun."""
    return Place(tmp_path)


def numbered(function: Function, number: int) -> Function:
    """With another number in the name of its node."""
    return replace(function, nodes=(Node(f"/dev/dfl-port.{number}", "port"),))


def test_a_spec_for_a_resource(place: Place) -> None:
    """A device for each unit, with the nodes that a container would get."""
    found = place.look(dfl(), dfl(1))
    assert found.notices == ()
    assert found.cdi.names == {f"vendor.example/{CLASS}=0000:3b:00.{number}" for number in range(2)}
    assert place.defined() == {f"0000:3b:00.{number}": [f"/dev/dfl-port.{number}"] for number in range(2)}


def test_a_standby_writes_nothing(place: Place, tmp_path: Path) -> None:
    """It reads what the owner has written."""
    place.begin("cdi: true", owner=False)
    assert place.look(dfl()).notices != ()
    assert [*tmp_path.iterdir()] == []
    place.begin("cdi: true")
    place.look(dfl())
    place.begin("cdi: true", owner=False)
    assert place.look(dfl()).cdi.names == {f"vendor.example/{CLASS}=0000:3b:00.0"}


def test_nothing_is_published_of_what_is_not_there(place: Place, tmp_path: Path) -> None:
    """Simulated functions, those without a node, and resources that do not ask."""
    assert place.look(dfl(), simulated="dfl-card") == Published()
    place.look(replace(dfl(), nodes=()))
    place.begin("cdi: false")
    place.look(dfl())
    assert [*tmp_path.iterdir()] == []


def test_a_device_that_is_away_stays_defined(place: Place) -> None:
    """A container that has it must be able to start again."""
    place.look(dfl(), dfl(1))
    place.look(dfl())
    assert set(place.defined()) == {"0000:3b:00.0", "0000:3b:00.1"}


def test_a_node_that_is_anothers_now_is_given_to_no_old_container(place: Place) -> None:
    """Numbers are given in the order in which drivers come."""
    place.look(dfl(), dfl(1))
    place.look(numbered(dfl(), 1))
    assert place.defined() == {"0000:3b:00.0": ["/dev/dfl-port.1"]}


def test_an_edit_of_the_configuration_leaves_what_containers_have(place: Place) -> None:
    """By another unit of the same function, and without CDI at all; the numbers in it are those of now."""
    place.look(dfl())
    place.begin("unit: region, cdi: true")
    place.look(dfl())
    assert set(place.defined()) == {"0000:3b:00.0", "0000:3b:00.0-region0"}
    place.begin("unit: region")
    place.look(numbered(dfl(), 7))
    assert place.defined()["0000:3b:00.0-region0"] == ["/dev/dfl-port.7"]


def test_what_is_programmed_is_kept_by_its_own_name(place: Place) -> None:
    """The id's checksum is behind the name of the region."""
    place.begin(f"unit: region, cdi: true, {program()}")
    place.look(dfl())
    (name,) = place.defined()
    assert name.startswith("0000:3b:00.0-region0_")
    place.begin("cdi: true")
    place.look(dfl())
    assert name in place.defined()


def test_a_group_of_vfio_is_one_device(place: Place) -> None:
    """With the nodes that all groups share, which are nobody's own."""
    place.look(vfio(0), vfio(1), replace(vfio(2), iommu_group="43", nodes=(Node("/dev/vfio/43", "group"), vfio(0).nodes[1])))
    place.look(vfio(0), vfio(1))
    assert place.defined()["0000:5e:00.0"] == ["/dev/vfio/42", "/dev/vfio/vfio"]
    assert place.defined()["0000:5e:00.2"] == ["/dev/vfio/43", "/dev/vfio/vfio"]


def test_ids_without_a_name_are_given_by_their_nodes(place: Place) -> None:
    """One odd name would cost all devices of the file; two that are alike would be one."""
    odd, one, other = (replace(dfl(), id=name) for name in ("a+b", "a-b", "a/b"))
    found = place.look(odd, one, other, dfl(1))
    assert found.cdi.names == {f"vendor.example/{CLASS}=0000:3b:00.1"}
    assert name_of("0000:3b:00.0/region0@0294fe1e") == "0000:3b:00.0-region0_0294fe1e"


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    """Containers get device nodes then."""
    place = Place(tmp_path / "none")
    (notice,) = place.look(dfl()).notices
    assert notice.startswith("containers get device nodes in place of CDI devices: ")
    assert place.memory == {"cdi": []}


# --- leaving ----------------------------------------------------------------------------------------------------------------


def test_a_spec_is_needed_by_the_held_devices_that_it_defines(place: Place, tmp_path: Path) -> None:
    """Of its resource alone."""
    place.look(dfl(), dfl(1))
    held = {RESOURCE: ["0000:3b:00.1", "0000:99:00.0"], "fpga.example/b": ["0000:3b:00.0"]}
    (left,) = leftovers(place.memory, held)
    assert (left.path, left.needed_by) == (str(tmp_path / FILE), ("0000:3b:00.1",))
    (left,) = leftovers(place.memory, {})
    assert left.needed_by == ()


def test_a_programmed_region_needs_its_spec(place: Place) -> None:
    """Its id is written otherwise there."""
    place.begin(f"unit: region, cdi: true, {program()}")
    place.look(dfl())
    (unit,) = offer(Report((dfl(),)), place.config).units
    (left,) = leftovers(place.memory, {RESOURCE: [unit.id]})
    assert left.needed_by == (unit.id,)


def test_where_nothing_can_be_seen_nothing_is_said(place: Place, tmp_path: Path) -> None:
    """A directory that is not mounted is not one without files."""
    with pytest.raises(FileNotFoundError, match="is not there"):
        [*leftovers({"cdi": [str(tmp_path / "none")]}, {})]
    assert [*leftovers({}, {})] == [*leftovers({"cdi": ["", 3]}, {})] == []
    (tmp_path / "of-others.json").write_text("{}")
    assert [*leftovers({"cdi": [str(tmp_path)]}, {})] == []

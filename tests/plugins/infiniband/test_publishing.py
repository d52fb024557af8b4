"""Files for container runtimes and CNI plugins: written by the owner alone, true, and there for as long as a pod may need them."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from supervisor_infiniband.config import Cdi, InfinibandConfig, Pool
from supervisor_infiniband.publishing import Published, Publisher
from supervisor_infiniband.publishing.cdi import PREFIX, class_of
from supervisor_infiniband.publishing.device_info import file_name
from supervisor_infiniband.report import RdmaDevice, Report
from supervisor_infiniband.units import Unit, units_of
from tests.plugins.infiniband.functions import pf, rxe, sf, vf

NODES = frozenset({"rdma_cm", *(f"uverbs{number}" for number in range(60))})
VENDOR = "vendor.example"


class Node:
    """A node with both directories, and one life of the plugin after the other on it."""

    def __init__(self, folder: Path, *pools: Pool) -> None:
        self.cdi, self.info = folder / "cdi", folder / "dp"
        self.cdi.mkdir()
        self.info.mkdir()
        self.pools = pools
        self.memory: dict[str, list[str]] = {}
        self.publisher = self.started()

    def started(self) -> Publisher:
        cdi = Cdi(directory=str(self.cdi), vendor=VENDOR)
        return Publisher(InfinibandConfig(resources=self.pools, cdi=cdi, device_info_directory=str(self.info)))

    def restart(self, *pools: Pool, owner: bool = True) -> None:
        self.pools = pools or self.pools
        self.publisher = self.started()
        if owner:
            self.publisher.take_over(self.memory)

    def look(self, *devices: RdmaDevice, simulated: str = "", nodes: frozenset[str] = NODES) -> Published:
        """With all devices in the first pool."""
        published = self.publisher.look(self.units(*devices), Report(devices, nodes=nodes, simulated=simulated))
        self.memory = dict(self.publisher.remember())
        return published

    def units(self, *devices: RdmaDevice) -> tuple[Unit, ...]:
        return units_of(self.pools[0], devices)

    def defined(self, name: str = "hca") -> dict[str, list[str]]:
        """The nodes of each CDI device of a class."""
        spec = json.loads((self.cdi / f"{PREFIX}{VENDOR}-{name}.json").read_text())
        return {
            each["name"]: [node["path"].rpartition("/")[2] for node in each["containerEdits"]["deviceNodes"]]
            for each in spec["devices"]
        }

    def told(self, device: str, resource: str = "rdma/vf") -> object:
        return json.loads((self.info / file_name(resource, device)).read_text())


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """One that publishes both, as its owner."""
    found = Node(tmp_path, Pool(name="vf", cdi=True, device_info=True))
    found.restart()
    return found


# --- device-info files ------------------------------------------------------------------------------------------------------


def test_a_device_info_file(node: Node) -> None:
    """By the specification, for everyone to read, and nobody to write."""
    assert node.look(vf(2)).device_info.problem == ""
    file = node.info / "rdma-vf-0000:3b:01.2-device.json"
    assert json.loads(file.read_text()) == {
        "type": "pci",
        "version": "1.1.0",
        "pci": {"pci-address": "0000:3b:01.2", "rdma-device": "mlx5_10", "pf-pci-address": "0000:3b:00.0"},
    }
    assert file.stat().st_mode & 0o777 == 0o444
    assert names(node.info) == [file.name]


def test_a_physical_function_has_no_other_above_it(node: Node) -> None:
    """It is its own."""
    node.look(pf(0))
    assert node.told("0000:3b:00.0") == {
        "type": "pci",
        "version": "1.1.0",
        "pci": {"pci-address": "0000:3b:00.0", "rdma-device": "mlx5_0"},
    }


def test_what_is_no_function_of_its_own_gets_no_file(node: Node) -> None:
    """With the address of its parent a CNI plugin would move the parent away; it is said, and the device can be had."""
    published = node.look(sf(3), rxe())
    assert names(node.info) == []
    assert published.notices[:2] == (
        "mlx5_core.sf.3 gets no device-info file, since it is no PCI function of its own",
        "guid-b8cef60300aa0009 gets no device-info file, since it is no PCI function of its own",
    )
    assert [published.device_info.lacking(unit) for unit in node.units(sf(3), rxe())] == ["", ""]


def test_a_renamed_device_is_told_anew(node: Node) -> None:
    """In place of its file, whole; what is true stays the very same file."""
    node.look(vf(2))
    before = (node.info / file_name("rdma/vf", "0000:3b:01.2")).stat().st_ino
    node.look(vf(2))
    assert (node.info / file_name("rdma/vf", "0000:3b:01.2")).stat().st_ino == before
    node.look(vf(2, name="rocep59s1f2"))
    assert "rocep59s1f2" in json.dumps(node.told("0000:3b:01.2"))


def test_a_device_in_a_pod_is_told_as_before(node: Node) -> None:
    """It has left with its name; its pod's network may be made anew meanwhile."""
    node.look(vf(2))
    published = node.look(vf(2, name="", elsewhere=True))
    assert "mlx5_10" in json.dumps(node.told("0000:3b:01.2"))
    assert published.device_info.lacking(node.units(vf(2, elsewhere=True))[0]) == ""


def test_a_file_stays_for_a_device_that_has_gone(node: Node) -> None:
    """A pod may hold it: neither a look without it nor a configuration without its resource removes it."""
    node.look(vf(2), vf(3))
    node.look(vf(3))
    node.look()
    node.restart(Pool(name="other"))
    node.look(vf(3))
    assert names(node.info) == [file_name("rdma/vf", f"0000:3b:01.{number}") for number in (2, 3)]
    assert node.memory["deviceInfo"] == [str(node.info)]


def test_a_standby_reads(node: Node) -> None:
    """It writes nothing, and knows what the owner has written."""
    node.restart(owner=False)
    published = node.look(vf(2))
    assert names(node.info) == names(node.cdi) == []
    assert published.device_info.lacking(node.units(vf(2))[0]).endswith("-device.json is not written yet")
    assert node.memory == {"cdi": [], "deviceInfo": []}
    owner = node.started()
    owner.take_over({})
    owner.look(node.units(vf(2)), Report((vf(2),), nodes=NODES))
    published = node.look(vf(2))
    assert published.device_info.lacking(node.units(vf(2))[0]) == ""
    assert published.cdi.names == {f"{VENDOR}/vf=0000:3b:01.2"}


def test_simulated_devices_leave_no_trace(node: Node) -> None:
    """Nobody on the node could do anything with them."""
    assert node.look(vf(2), simulated="roce-16-vfs") == Published()
    assert names(node.info) == names(node.cdi) == []


def test_without_the_directory(node: Node) -> None:
    """A visible reason, and no pod that would fail later; only where files are asked for."""
    node.info.rmdir()
    published = node.look(vf(2))
    why = f"device-info files cannot be written: {node.info} is not there"
    assert why in published.notices
    assert published.device_info.lacking(node.units(vf(2))[0]) == why
    node.restart(Pool(name="vf"))
    assert node.look(vf(2)).notices == ()


def test_a_directory_that_refuses(node: Node) -> None:
    """The reason is the system's; what is right already can be had."""
    node.look(vf(2))
    (node.info / file_name("rdma/vf", "0000:3b:01.3")).mkdir()
    published = node.look(vf(2), vf(3))
    assert published.device_info.problem == (
        f"device-info files cannot be written: {node.info} does not let us ({os.strerror(21)})"
    )
    assert [bool(published.device_info.lacking(unit)) for unit in node.units(vf(2), vf(3))] == [False, True]
    assert names(node.info) == [file_name("rdma/vf", f"0000:3b:01.{number}") for number in (2, 3)]


def test_what_a_killed_process_left_half_written_goes(node: Node) -> None:
    """That of ours; others have their own."""
    torn = [f".{file_name('rdma/vf', '0000:3b:01.2')}.0123abcd.tmp", ".other.0123abcd.tmp"]
    for name in torn:
        (node.info / name).touch()
    node.look(vf(2))
    assert names(node.info) == [".other.0123abcd.tmp", file_name("rdma/vf", "0000:3b:01.2")]


# --- CDI specs --------------------------------------------------------------------------------------------------------------


def test_a_spec_for_each_resource(node: Node) -> None:
    """With a device for each unit, that says its nodes and nothing else."""
    published = node.look(vf(0), vf(1))
    assert node.defined("vf") == {"0000:3b:01.0": ["uverbs8", "rdma_cm"], "0000:3b:01.1": ["uverbs9", "rdma_cm"]}
    assert published.cdi.names == {f"{VENDOR}/vf=0000:3b:01.0", f"{VENDOR}/vf=0000:3b:01.1"}
    assert published.notices == ()
    spec = json.loads((node.cdi / f"{PREFIX}{VENDOR}-vf.json").read_text())
    assert spec["cdiVersion"] == "0.5.0"  # names of devices that begin with a digit
    assert set(spec) == {"cdiVersion", "kind", "devices"}


def test_a_spec_names_the_nodes_of_now(node: Node) -> None:
    """After a new driver a device has another number."""
    node.look(vf(0))
    node.look(vf(0, uverbs="uverbs33"))
    assert node.defined("vf") == {"0000:3b:01.0": ["uverbs33", "rdma_cm"]}


def test_a_cdi_device_stays_for_a_container_that_may_hold_it(node: Node) -> None:
    """Though its device is not there any more, hidden by an edit, or without a node for a moment."""
    node.look(vf(0), vf(1), vf(2))
    published = node.look(vf(1, uverbs=None), vf(2))
    assert list(node.defined("vf")) == ["0000:3b:01.2", "0000:3b:01.0", "0000:3b:01.1"]
    assert published.cdi.names == {f"{VENDOR}/vf=0000:3b:01.2"}


def test_nobody_is_given_what_belongs_to_another_now(node: Node) -> None:
    """Numbers are given again: a container of before that starts anew must not get the new device."""
    node.look(vf(0), vf(1))
    node.look(vf(1), vf(2, uverbs="uverbs8"))
    assert list(node.defined("vf")) == ["0000:3b:01.1", "0000:3b:01.2"]


def test_what_belongs_to_another_device_that_is_not_offered(node: Node) -> None:
    """The same, though no file says so."""
    node.look(vf(0), vf(1))
    node.publisher.look(node.units(vf(1)), Report((vf(1), pf(0, uverbs="uverbs8")), nodes=NODES))
    assert list(node.defined("vf")) == ["0000:3b:01.1"]


def test_what_belongs_to_another_resource_now(tmp_path: Path) -> None:
    """Its own has no unit left, and so no spec that anybody wants."""
    node = Node(tmp_path, Pool(name="vf", cdi=True))
    node.restart()
    node.look(vf(0))
    node.restart(Pool(name="hca", cdi=True))
    node.look(pf(0))
    assert node.defined("vf") == {"0000:3b:01.0": ["uverbs8", "rdma_cm"]}
    node.look(pf(0, uverbs="uverbs8"))
    assert names(node.cdi) == [f"{PREFIX}{VENDOR}-hca.json"]


def test_specs_of_before_an_edit_are_kept_true(tmp_path: Path) -> None:
    """CDI is switched off: containers that have its devices start again all the same; nobody else is given any."""
    node = Node(tmp_path, Pool(name="hca", cdi=True))
    node.restart()
    node.look(pf(0))
    node.restart(Pool(name="hca"))
    assert node.look(pf(0, uverbs="uverbs7")).cdi.names == frozenset()
    assert node.defined() == {"0000:3b:00.0": ["uverbs7", "rdma_cm"]}


def test_without_the_cdi_directory_nodes_are_given(node: Node) -> None:
    """They do the same; the reason is told."""
    node.cdi.rmdir()
    published = node.look(vf(0))
    assert published.cdi.names == frozenset()
    assert (
        f"containers get device nodes in place of CDI devices: the CDI directory {node.cdi} is not there" in published.notices
    )


def test_another_directory(node: Node, tmp_path: Path) -> None:
    """What lies in the one of before stays, and true, since of two directories the later one counts."""
    node.look(vf(0))
    before, node.cdi = node.cdi, tmp_path / "elsewhere"
    node.cdi.mkdir()
    node.restart()
    node.look(vf(0, uverbs="uverbs40"))
    assert node.defined("vf") == {"0000:3b:01.0": ["uverbs40", "rdma_cm"]}
    assert (before / f"{PREFIX}{VENDOR}-vf.json").read_bytes() == (node.cdi / f"{PREFIX}{VENDOR}-vf.json").read_bytes()
    assert node.memory["cdi"] == [str(before), str(node.cdi)]


def test_where_files_will_lie_is_noted_before_they_are_written(node: Node) -> None:
    """Whoever is killed a moment later leaves none that nobody knows of."""
    assert node.publisher.remember() == {"cdi": [str(node.cdi)], "deviceInfo": [str(node.info)]}
    assert names(node.info) == names(node.cdi) == []


def test_a_directory_of_before_that_is_empty_is_forgotten(node: Node) -> None:
    """After a reboot, say; one that cannot be seen is not."""
    node.memory = {"cdi": [str(node.cdi), "/nowhere/to/be/seen"], "deviceInfo": [str(node.info)]}
    node.restart(Pool(name="vf"))
    assert node.publisher.remember() == {"cdi": ["/nowhere/to/be/seen"], "deviceInfo": []}


@pytest.mark.parametrize("kept", [{}, {"cdi": None, "deviceInfo": 5}, {"cdi": [None, "", 3], "deviceInfo": {}}])
def test_a_memory_that_makes_no_sense(node: Node, kept: dict[str, object]) -> None:
    """It is taken for an empty one."""
    node.restart(Pool(name="vf"))
    node.publisher.take_over(kept)
    assert node.publisher.remember() == {"cdi": [], "deviceInfo": []}


def test_a_whole_pool_is_one_cdi_device(tmp_path: Path) -> None:
    """Of all that can be used."""
    node = Node(tmp_path, Pool(name="hca", mode="pool", replicas=9, cdi=True))
    node.restart()
    assert node.look(pf(0), pf(1), pf(2, uverbs=None)).cdi.names == {f"{VENDOR}/hca=all"}
    assert node.defined() == {"all": ["uverbs0", "rdma_cm", "uverbs1"]}
    node.restart(Pool(name="vf", cdi=True))
    node.look(pf(0))
    assert node.defined() == {"all": ["uverbs0", "rdma_cm", "uverbs1"]}  # whoever has these devices now: a pod may hold it


def test_an_id_that_cdi_does_not_allow_costs_no_other(node: Node) -> None:
    """A runtime refuses a whole file for it; that unit is given by its nodes."""
    published = node.look(vf(0), vf(1, id="odd!"))
    assert published.cdi.usable
    assert list(node.defined("vf")) == ["0000:3b:01.0"]


RESOURCES = st.from_regex(r"[a-z0-9]([-.a-z0-9]{0,20}[a-z0-9])?/[A-Za-z0-9]([-_.A-Za-z0-9]{0,20}[A-Za-z0-9])?", fullmatch=True)


@given(RESOURCES)
def test_a_class_is_one_that_runtimes_take(resource: str) -> None:
    """Without dots, which need a newer version, and of two characters at least, since containerd panics on less."""
    assert class_of(resource).replace("-", "").replace("_", "").isalnum()
    assert len(class_of(resource)) >= 2
    assert class_of(resource)[0].isalpha()
    assert class_of(resource)[-1].isalnum()


@given(st.lists(RESOURCES, min_size=2, unique=True))
def test_every_resource_has_a_class_of_its_own(resources: Sequence[str]) -> None:
    """By name where that is enough; ``rdma/hca`` is ``hca``."""
    assert len({class_of(resource) for resource in resources}) == len(resources)
    assert class_of("rdma/hca") == "hca"
    assert class_of("vendor.example/hca").startswith("r-hca-")


def test_a_vf_that_has_two_devices_has_two_files(node: Node) -> None:
    """Two end points on one function have ids of their own, and one address."""
    devices = [
        replace(vf(2), id=f"0000:3b:01.2-{digits}", name=f"mlx5_{digits[-1]}") for digits in ("0" * 15 + "1", "0" * 15 + "2")
    ]
    node.look(*devices)
    assert node.told(devices[0].id) != node.told(devices[1].id)


@pytest.mark.parametrize(
    ("above", "told"),
    [
        ("0000:3b:00.0-b8cef60300aa0001", {"pf-pci-address": "0000:3b:00.0"}),
        ("10000:3b:00.0", {"pf-pci-address": "10000:3b:00.0"}),
        ("", {}),
        ("guid-b8cef60300aa0001", {}),
    ],
)
def test_the_function_above(node: Node, above: str, told: dict[str, str]) -> None:
    """By its address, though it may have several devices and so a longer id; left out where it cannot be told."""
    node.look(vf(2, pf=above))
    assert node.told("0000:3b:01.2") == {
        "type": "pci",
        "version": "1.1.0",
        "pci": {"pci-address": "0000:3b:01.2", "rdma-device": "mlx5_10", **told},
    }

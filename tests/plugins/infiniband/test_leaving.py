"""Files that outlive the supervisor: which are ours, and whose containers need them."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from supervisor import Leftover
from supervisor_infiniband.config import Cdi, InfinibandConfig, Pool
from supervisor_infiniband.leaving import leftovers
from supervisor_infiniband.publishing import Publisher
from supervisor_infiniband.publishing.cdi import PREFIX, class_of
from supervisor_infiniband.publishing.device_info import file_name
from supervisor_infiniband.report import Report
from supervisor_infiniband.units import units_of
from tests.plugins.infiniband.functions import vf

ONE, TWO = "0000:3b:01.0", "0000:3b:01.1"
INFO_ONE, INFO_TWO = file_name("rdma/vf", ONE), file_name("rdma/vf", TWO)
SPEC = f"{PREFIX}vendor.example-vf.json"
HALF = ".0123abcd.tmp"


def published(folder: Path, pool: Pool | None = None) -> Mapping[str, object]:
    """Both sorts of files of two devices, in one directory; the memory of who wrote them."""
    pool = pool or Pool(name="vf", cdi=True, device_info=True)
    cdi = Cdi(directory=str(folder), vendor="vendor.example")
    publisher = Publisher(InfinibandConfig(resources=(pool,), cdi=cdi, device_info_directory=str(folder)))
    publisher.take_over({})
    devices = (vf(0), vf(1))
    publisher.look(units_of(pool, devices), Report(devices, nodes=frozenset({"uverbs8", "uverbs9", "rdma_cm"})))
    return publisher.remember()


def needed(memory: Mapping[str, object], held: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """By the name of the file."""
    return {Path(each.path).name: each.needed_by for each in leftovers(memory, held)}


def test_files_are_needed_by_what_they_are_of(tmp_path: Path) -> None:
    """A device-info file by its device, a spec by any of its devices; in both cases of that resource alone."""
    memory = published(tmp_path)
    assert needed(memory, {}) == {SPEC: (), INFO_ONE: (), INFO_TWO: ()}
    assert needed(memory, {"rdma/vf": (TWO, ONE)}) == {SPEC: (ONE, TWO), INFO_ONE: (ONE,), INFO_TWO: (TWO,)}
    assert needed(memory, {"rdma/vf": (TWO,), "a.example/vf": (ONE,)}) == {SPEC: (TWO,), INFO_ONE: (), INFO_TWO: (TWO,)}
    assert list(leftovers({"cdi": [str(tmp_path)]}, {})) == [Leftover(str(tmp_path / SPEC), ())]


def test_a_spec_is_needed_by_all_replicas(tmp_path: Path) -> None:
    """They are of one CDI device."""
    memory = published(tmp_path, Pool(name="vf", mode="shared", replicas=3, cdi=True))
    assert needed(memory, {"rdma/vf": (f"{ONE}::0", f"{ONE}::2", "0000:99:00.0::0")}) == {SPEC: (f"{ONE}::0", f"{ONE}::2")}


def test_a_spec_of_a_whole_pool_is_needed_by_every_unit(tmp_path: Path) -> None:
    """All have the one device."""
    memory = published(tmp_path, Pool(name="vf", mode="pool", replicas=3, cdi=True))
    assert needed(memory, {"rdma/vf": ("rdma.vf::2",), "rdma/hca": ("rdma.hca::1",)}) == {SPEC: ("rdma.vf::2",)}


def test_a_resource_with_a_domain_of_its_own(tmp_path: Path) -> None:
    """Its class is not merely its name."""
    memory = published(tmp_path, Pool(name="a.example/vf", cdi=True))
    spec = f"{PREFIX}vendor.example-{class_of('a.example/vf')}.json"
    assert needed(memory, {"a.example/vf": (ONE,), "rdma/vf": (TWO,)}) == {spec: (ONE,)}


def test_only_ours_are_named(tmp_path: Path) -> None:
    """By name and content, byte for byte; what a killed process left half-written is needed by nobody."""
    memory = published(tmp_path)
    content = json.loads((tmp_path / INFO_ONE).read_text())
    (tmp_path / INFO_ONE).unlink()
    (tmp_path / INFO_ONE).write_text(json.dumps(content))  # as another writer lays it out
    (tmp_path / "vendor.example-x-device.json").write_text("torn")
    (tmp_path / f"{PREFIX}other.example-vf.json").write_text('{"kind": "vendor.example/vf", "devices": []}')
    (tmp_path / f".{INFO_TWO}{HALF}").touch()
    (tmp_path / f".{SPEC}{HALF}").touch()
    (tmp_path / "directory-device.json").mkdir()
    held = {"rdma/vf": (ONE, TWO)}
    assert needed(memory, held) == {
        SPEC: (ONE, TWO),
        INFO_TWO: (TWO,),
        f".{INFO_TWO}{HALF}": (),
        f".{SPEC}{HALF}": (),
    }


@pytest.mark.parametrize("key", ["cdi", "deviceInfo"])
def test_a_directory_that_cannot_be_seen_is_told(tmp_path: Path, key: str) -> None:
    """In a pod without that mount it looks as if nothing were there."""
    with pytest.raises(FileNotFoundError, match="nowhere, where files were written, is not there; mount it"):
        list(leftovers({key: [str(tmp_path / "nowhere")]}, {}))


@pytest.mark.parametrize("memory", [{}, {"cdi": []}, {"cdi": None, "deviceInfo": 5}, {"deviceInfo": [None, ""]}])
def test_without_a_word_of_an_owner_nothing_is_left(memory: Mapping[str, object]) -> None:
    """The configured directory may hold what another supervisor looks after."""
    assert list(leftovers(memory, {"rdma/vf": (ONE,)})) == []

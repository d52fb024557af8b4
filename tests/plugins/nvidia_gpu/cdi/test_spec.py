"""What the specs say, and that they are valid."""

import json
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import CdiNode, CdiSpec
from supervisor.cdi.schema import decode, encode, host_paths
from supervisor_nvidia_gpu.cdi.libraries import File, Libraries, Library, find
from supervisor_nvidia_gpu.cdi.spec import VOID, specs
from supervisor_nvidia_gpu.nodes import Nodes, look
from supervisor_nvidia_gpu.report import Gpu, Report
from supervisor_nvidia_gpu.units import Unit, offer
from tests.plugins.nvidia_gpu.driver import DEBIAN, DRIVER, Place
from tests.plugins.nvidia_gpu.gpus import config_of, gpu, nodes

VENDOR = "k8s.device-plugin-supervisor.io"
WHOLE = Unit("nvidia.com/gpu", gpu(0).uuid, gpu(0))
CUT = gpu(1, "1g.10gb", "1g.24gb+gfx")
MIGS = tuple(Unit("nvidia.com/mig", mig.uuid, CUT, mig) for mig in CUT.mig)
NODES = Nodes(
    control=("/dev/nvidiactl",),
    gpus={0: "/dev/nvidia0", 1: "/dev/nvidia1"},
    caps={
        f"gpu1/gi{instance}{right}": f"/dev/nvidia-caps/nvidia-cap{instance}{len(right)}"
        for instance in (1, 2)
        for right in ("/access", "/ci0/access")
    },
    dri={gpu(0).pci: ("/dev/dri/card0",), CUT.pci: ("/dev/dri/card1",)},
    gds=("/dev/nvidia-fs0",),
    mofed=("/dev/infiniband/uverbs0",),
    gdrcopy=("/dev/gdrdrv",),
    imex={0: "/dev/nvidia-caps-imex-channels/channel0", 1: "/dev/nvidia-caps-imex-channels/channel1"},
)
CUDA = Library(f"/{DEBIAN}/libcuda.so.{DRIVER}", f"/{DEBIAN}", f"libcuda.so.{DRIVER}", "libcuda.so.1", "x86_64-linux-gnu")
CORE = Library(f"/{DEBIAN}/core", f"/{DEBIAN}", "libcore.so.1", f"libcore.so.{DRIVER}", "x86_64-linux-gnu")
FOUND = Libraries(
    DRIVER,
    (CUDA, CORE),
    files=(File("/usr/bin/nvidia-smi", "/usr/bin/nvidia-smi"),),
    sockets=(File("/run/nvidia-persistenced/socket", "/var/run/nvidia-persistenced/socket"),),
    storage=(File("/etc/cufile.json", "/etc/cufile.json"),),
)


def spec_of(*units: Unit, text: str = "{}", nodes: Nodes = NODES, found: Libraries = FOUND) -> CdiSpec:
    """The spec for GPUs."""
    (made,) = (made for made in specs(units, nodes, found, config_of(text)) if made.kind.endswith("/gpu"))
    return decode(encode(made))


def paths(spec: CdiSpec) -> list[list[str]]:
    return [[node.path for node in device.container_edits.device_nodes] for device in spec.devices]


def test_a_whole_gpu() -> None:
    """A device has its own nodes, for graphics too; what all share is said once."""
    made = spec_of(WHOLE)
    assert (made.cdi_version, made.kind) == ("0.3.0", f"{VENDOR}/gpu")
    assert made.names == (f"{VENDOR}/gpu={WHOLE.id}",)
    assert paths(made) == [["/dev/nvidia0", "/dev/dri/card0"]]
    assert made.container_edits.env == (VOID,)
    assert made.container_edits.device_nodes == (CdiNode("/dev/nvidiactl"),)
    assert made.container_edits.hooks == ()


def test_mig_devices() -> None:
    """The node of the GPU and two rights; graphics for none but the profiles that can."""
    assert paths(spec_of(*MIGS)) == [
        ["/dev/nvidia1", "/dev/nvidia-caps/nvidia-cap17", "/dev/nvidia-caps/nvidia-cap111"],
        ["/dev/nvidia1", "/dev/nvidia-caps/nvidia-cap27", "/dev/nvidia-caps/nvidia-cap211", "/dev/dri/card1"],
    ]


@pytest.mark.parametrize(
    ("strategy", "names", "version"),
    [
        ("uuid", [WHOLE.id, MIGS[0].id], "0.3.0"),
        ("index", ["0", "1:0"], "0.5.0"),
        ("pci", ["0000:10:00.0", MIGS[0].id], "0.5.0"),
    ],
)
def test_names_and_the_version_that_they_need(strategy: str, names: list[str], version: str) -> None:
    """Devices are named by the configured strategy; a name that starts with a digit needs 0.5.0."""
    made = spec_of(WHOLE, MIGS[0], text=f"deviceIDStrategy: {strategy}")
    assert [device.name for device in made.devices] == names
    assert made.cdi_version == version


def test_time_slices_share_a_device() -> None:
    """A GPU that two resources offer, or many slices, is one device."""
    assert len(spec_of(WHOLE, msgspec.structs.replace(WHOLE, resource="nvidia.com/other", shared=True)).devices) == 1


def test_libraries_are_bound_over_their_names() -> None:
    """Where loaders look by themselves, the file is found under the name that programs ask for; nothing runs for it."""
    bound = {mount.container_path: mount.host_path for mount in spec_of(WHOLE).container_edits.mounts}
    for place in (f"/{DEBIAN}", "/usr/lib64"):
        for name in ("libcuda.so.1", "libcuda.so"):
            assert bound[f"{place}/{name}"] == CUDA.host_path
        assert bound[f"{place}/libcore.so.{DRIVER}"] == CORE.host_path
    assert bound["/usr/local/nvidia/lib64/libcuda.so.1"] == CUDA.host_path
    assert bound["/usr/bin/nvidia-smi"] == "/usr/bin/nvidia-smi"
    for mount in spec_of(WHOLE).container_edits.mounts:
        assert mount.options[0] == "ro"
        assert ("noexec" in mount.options) == mount.container_path.endswith("socket")


@pytest.mark.parametrize(("hook", "start"), [("/usr/bin/nvidia-cdi-hook", 1), ("/opt/bin/nvidia-ctk", 2)])
def test_with_a_hook(hook: str, start: int) -> None:
    """Files keep their names and places, and the hook makes links and cache while the container is created."""
    edits = spec_of(WHOLE, text=f"cdi: {{hook: {hook}}}").container_edits
    bound = {mount.container_path: mount.host_path for mount in edits.mounts}
    assert bound[f"/{DEBIAN}/libcuda.so.{DRIVER}"] == CUDA.host_path
    assert f"/{DEBIAN}/libcuda.so.1" not in bound
    assert {each.path for each in edits.hooks} == {hook}
    assert {each.hook_name for each in edits.hooks} == {"createContainer"}
    assert all(each.args[:start] == (Path(hook).name, "hook")[:start] for each in edits.hooks)
    assert [each.args[start:] for each in edits.hooks] == [
        ("create-symlinks", "--link", f"libcuda.so.1::/{DEBIAN}/libcuda.so"),
        ("enable-cuda-compat", f"--host-driver-version={DRIVER}"),
        ("update-ldcache", "--folder", f"/{DEBIAN}"),
        ("disable-device-node-modification",),
    ]


def test_nodes_of_a_driver_container() -> None:
    """The host has them elsewhere, which needs 0.5.0."""
    elsewhere = msgspec.structs.replace(NODES, elsewhere={"/dev/nvidia0": "/run/nvidia/driver/dev/nvidia0"})
    made = spec_of(WHOLE, nodes=elsewhere)
    assert made.devices[0].container_edits.device_nodes[0] == CdiNode("/dev/nvidia0", "/run/nvidia/driver/dev/nvidia0")
    assert made.cdi_version == "0.5.0"


def test_a_unit_without_its_nodes_is_left_out() -> None:
    """A runtime then refuses that one container, instead of all."""
    assert [device.name for device in spec_of(WHOLE, *MIGS, nodes=Nodes(gpus={0: "/dev/nvidia0"})).devices] == [WHOLE.id]


@pytest.mark.parametrize(
    ("units", "found"), [((), FOUND), ((MIGS[0],), FOUND), ((WHOLE,), Libraries(problem="there is no driver"))]
)
def test_no_spec_for_nothing(units: tuple[Unit, ...], found: Libraries) -> None:
    """A spec without devices is invalid, and GPUs without libraries would only start containers that fail."""
    assert specs(units, Nodes(gpus={0: "/dev/nvidia0"}), found, config_of()) == ()


def test_extras() -> None:
    """Each kind of extra has a spec of its own, as far as a resource asks for it and it is there."""
    text = "extras: {gpu: {gds: true, imexChannels: [0, 7]}, '*': {mofed: true}}"
    made = {each.kind.rpartition("/")[2]: each for each in specs((), NODES, FOUND, config_of(text))}
    assert set(made) == {"gds", "mofed", "imex-channel"}
    (storage,) = made["gds"].devices
    assert [node.path for node in storage.container_edits.device_nodes] == ["/dev/nvidia-fs0"]
    assert [mount.host_path for mount in storage.container_edits.mounts] == ["/etc/cufile.json"]
    assert made["imex-channel"].names == (f"{VENDOR}/imex-channel=0",)
    assert specs((), Nodes(), FOUND, config_of(text)) == ()


def test_the_files_are_json_as_runtimes_read_it() -> None:
    """Names of fields are the specification's, and what is not said is left out."""
    raw = json.loads(encode(spec_of(WHOLE)))
    assert set(raw) == {"cdiVersion", "kind", "devices", "containerEdits"}
    assert raw["devices"] == [
        {
            "name": WHOLE.id,
            "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia0"}, {"path": "/dev/dri/card0"}]},
        }
    ]
    assert set(raw["containerEdits"]) == {"env", "deviceNodes", "mounts"}
    assert set(raw["containerEdits"]["mounts"][0]) == {"hostPath", "containerPath", "options"}


def test_everything_that_the_host_must_have() -> None:
    """The paths to verify are those of nodes, mounts and hooks on the host."""
    text = "cdi: {hook: /usr/bin/nvidia-ctk}"
    assert host_paths(spec_of(WHOLE, text=text)) == {
        "/dev/nvidiactl",
        "/dev/nvidia0",
        "/dev/dri/card0",
        CUDA.host_path,
        CORE.host_path,
        "/usr/bin/nvidia-smi",
        "/run/nvidia-persistenced/socket",
        "/usr/bin/nvidia-ctk",
    }


@given(nodes(), st.sampled_from(("uuid", "index", "pci")), st.sampled_from(("none", "single", "mixed")))
def test_specs_of_any_node_are_valid(gpus: list[Gpu], strategy: str, mig: str) -> None:
    """Whatever GPUs a node has, its specs are valid, and each unit whose nodes are there is in them once."""
    report = Report(gpus=tuple(gpus))
    config = config_of(f"{{deviceIDStrategy: {strategy}, migStrategy: {mig}}}")
    units = offer(report, config).units
    there = Nodes(
        gpus={each.minor: f"/dev/nvidia{each.minor}" for each in report.gpus if each.minor is not None and each.minor % 3},
        caps=NODES.caps,
    )
    for made in specs(units, there, FOUND, config):
        assert decode(encode(made)) == made
        present = [unit for unit in units if not there.lacking(unit)]
        assert len(made.devices) == len({(unit.gpu.index, unit.mig and unit.mig.index) for unit in present})
        assert all(re.fullmatch(r"[-.\w]+/gpu=[-.:\w]+", name) for name in made.names)


def test_from_a_tree_of_files(tmp_path: Path) -> None:
    """Looking for nodes and libraries gives all that a spec needs."""
    place = Place(tmp_path)
    place.install()
    place.control()
    place.nodes("nvidia0")
    found = find(place.driver, DRIVER)
    made = spec_of(WHOLE, nodes=look(place.host, Report(gpus=(WHOLE.gpu,))), found=found)
    assert len(made.container_edits.device_nodes) == 4
    assert f"/{DEBIAN}/libnvidia-ml.so.1" in {mount.container_path for mount in made.container_edits.mounts}
    assert f"/{DEBIAN}/gbm/nvidia-drm_gbm.so" in {mount.container_path for mount in made.container_edits.mounts}

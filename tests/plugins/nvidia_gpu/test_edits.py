"""What containers get, by every way, and which ways are gone."""

import re
from itertools import product

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import CdiState, ContainerEdits, Device, DeviceNode, Mount
from supervisor.allocation import merge
from supervisor_nvidia_gpu.config import DeviceList, NvidiaGpuConfig
from supervisor_nvidia_gpu.edits import MOUNT_ROOT, Strategies, choose, edits, node_evidence, refusal
from supervisor_nvidia_gpu.nodes import CONTROL, Nodes
from supervisor_nvidia_gpu.units import Unit, replica_ids
from tests.plugins.nvidia_gpu.gpus import config_of, gpu

WHOLE = Unit("nvidia.com/gpu", gpu(2).uuid, gpu(2, minor=5))
OTHER = Unit("nvidia.com/gpu", gpu(3).uuid, gpu(3))
CUT = gpu(1, "1g.10gb", "2g.20gb")
MIG = Unit("nvidia.com/mig-2g.20gb", CUT.mig[1].uuid, CUT, CUT.mig[1])
KIND = "k8s.device-plugin-supervisor.io/gpu"
NODES = Nodes(
    control=CONTROL,
    gpus={1: "/dev/nvidia1", 3: "/dev/nvidia3", 5: "/dev/nvidia5"},
    caps={"gpu1/gi2/access": "/dev/nvidia-caps/nvidia-cap7", "gpu1/gi2/ci0/access": "/dev/nvidia-caps/nvidia-cap8"},
    gds=("/dev/nvidia-fs0",),
    mofed=("/dev/infiniband/uverbs0",),
    gdrcopy=("/dev/gdrdrv",),
    imex={0: "/dev/nvidia-caps-imex-channels/channel0"},
)
BROKEN = CdiState("/var/run/cdi", problem="the CDI directory /var/run/cdi is not there")
EXTRAS = "extras: {gpu: {gds: true, mofed: true, gdrcopy: true, imexChannels: [0]}}"


def ready(*devices: str) -> CdiState:
    vendor = KIND.rpartition("/")[0]
    return CdiState("/var/run/cdi", frozenset(f"{vendor}/{device}" for device in devices))


READY = ready(f"gpu={WHOLE.id}", f"gpu={OTHER.id}", f"gpu={MIG.id}")


def by(*names: DeviceList, specs: bool = False) -> Strategies:
    return Strategies(names, specs, "a test")


def got(unit: Unit, strategies: Strategies, text: str = "{}", cdi: CdiState = READY, nodes: Nodes = NODES) -> ContainerEdits:
    return edits(unit, strategies, nodes, config_of(text), cdi)


def test_envvar() -> None:
    """NVIDIA's runtime is told by one variable, and nothing else is given."""
    assert got(WHOLE, by("envvar")) == ContainerEdits(envs={"NVIDIA_VISIBLE_DEVICES": WHOLE.id})


def test_volume_mounts() -> None:
    """The device is named by a mount, and the variable points to where the mounts are."""
    assert got(WHOLE, by("volume-mounts")) == ContainerEdits(
        mounts=(Mount("/dev/null", f"{MOUNT_ROOT}/{WHOLE.id}"),), envs={"NVIDIA_VISIBLE_DEVICES": MOUNT_ROOT}
    )


def test_cdi_annotations() -> None:
    """One annotation for each device, under the key that runtimes look for."""
    found = got(WHOLE, by("cdi-annotations"))
    assert found == ContainerEdits(annotations={f"cdi.k8s.io/nvidia-gpu_{WHOLE.id}": f"{KIND}={WHOLE.id}"})
    found = got(WHOLE, by("cdi-annotations"), "cdi: {annotationPrefix: nvidia.cdi.k8s.io/}")
    assert set(found.annotations) == {f"nvidia.cdi.k8s.io/nvidia-gpu_{WHOLE.id}"}


def test_cdi_cri() -> None:
    """The kubelet passes the name of the CDI device on."""
    assert got(WHOLE, by("cdi-cri")) == ContainerEdits(cdi_devices=(f"{KIND}={WHOLE.id}",))


def test_device_specs() -> None:
    """Control nodes and the unit's own, read and write; a MIG device with its two rights."""
    assert got(WHOLE, by(specs=True)) == ContainerEdits(
        device_nodes=tuple(DeviceNode(path) for path in (*CONTROL, "/dev/nvidia5"))
    )
    assert [node.host_path for node in got(MIG, by(specs=True)).device_nodes[4:]] == [
        "/dev/nvidia1",
        "/dev/nvidia-caps/nvidia-cap7",
        "/dev/nvidia-caps/nvidia-cap8",
    ]


def test_device_specs_from_a_driver_container() -> None:
    """A node that the host has elsewhere is at its usual place in the container."""
    nodes = Nodes(gpus={5: "/dev/nvidia5"}, elsewhere={"/dev/nvidia5": "/run/nvidia/driver/dev/nvidia5"})
    (node,) = got(WHOLE, by(specs=True), nodes=nodes).device_nodes
    assert (node.host_path, node.container_path) == ("/run/nvidia/driver/dev/nvidia5", "/dev/nvidia5")


def test_all_ways_at_once() -> None:
    """Several ways add up; with volume mounts the variable cannot name the device too."""
    found = got(WHOLE, by("envvar", "volume-mounts", "cdi-annotations", "cdi-cri", specs=True))
    assert found.envs == {"NVIDIA_VISIBLE_DEVICES": MOUNT_ROOT}
    assert len(found.mounts) == len(found.annotations) == len(found.cdi_devices) == 1
    assert len(found.device_nodes) == 5


@pytest.mark.parametrize(
    ("strategy", "whole", "mig"),
    [("uuid", WHOLE.id, MIG.id), ("index", "2", "1:1"), ("pci", "0000:12:00.0", MIG.id)],
)
def test_the_value_that_is_injected(strategy: str, whole: str, mig: str) -> None:
    """UUID, index or PCI address as configured; a MIG device is ``parent:index``, and has no address of its own."""
    text = f"deviceIDStrategy: {strategy}"
    state = ready(f"gpu={whole}", f"gpu={mig}")
    for unit, value in ((WHOLE, whole), (MIG, mig)):
        found = got(unit, by("envvar", "cdi-cri"), text, state)
        assert found.envs["NVIDIA_VISIBLE_DEVICES"] == value
        assert found.cdi_devices == (f"{KIND}={value}",)


def test_time_slices_of_one_gpu_are_one_device() -> None:
    """Two slices of one GPU in a container collapse by themselves; two GPUs are two values."""
    sliced = msgspec.structs.replace(WHOLE, replicas=3, shared=True)
    given_edits = got(sliced, by("envvar", "cdi-annotations", "cdi-cri", specs=True))
    slices = [Device(id=name, edits=given_edits) for name in replica_ids(sliced)]
    assert merge(device.edits for device in slices[:2]) == given_edits
    both = merge([given_edits, got(OTHER, by("envvar", "cdi-annotations", "cdi-cri", specs=True))])
    assert both.envs == {"NVIDIA_VISIBLE_DEVICES": f"{WHOLE.id},{OTHER.id}"}
    assert len(both.annotations) == len(both.cdi_devices) == 2
    assert [node.host_path for node in both.device_nodes] == [*CONTROL, "/dev/nvidia5", "/dev/nvidia3"]


ALL: tuple[DeviceList, ...] = ("envvar", "volume-mounts", "cdi-annotations", "cdi-cri")


@given(
    st.lists(st.sampled_from(ALL), unique=True),
    st.booleans(),
    st.sampled_from(("uuid", "index", "pci")),
    st.lists(st.sampled_from((WHOLE, OTHER, MIG)), min_size=1, unique=True),
    st.booleans(),
)
def test_units_never_conflict(names: list[DeviceList], specs: bool, strategy: str, units: list[Unit], extras: bool) -> None:
    """Whatever is combined in one container, every value is valid and no two units want different things."""
    config = config_of(f"{{deviceIDStrategy: {strategy}{', ' + EXTRAS if extras else ''}}}")
    every = {f"gpu={value}" for value in (WHOLE.id, OTHER.id, MIG.id, "2", "3", "1:1", "0000:12:00.0", "0000:13:00.0")}
    state = ready(*every, "gds=all", "mofed=all", "gdrcopy=all", "imex-channel=0")
    each = [edits(unit, by(*names, specs=specs), NODES, config, state) for unit in units]
    together = merge(each)
    msgspec.convert(msgspec.to_builtins(together), ContainerEdits)
    for key in together.annotations:
        assert re.fullmatch(r"[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?", key.partition("/")[2])
    if "cdi-cri" in names:
        assert sum("/gpu=" in name for name in together.cdi_devices) == len(units)
        assert not any(refusal(unit, by(*names), NODES, config, state) for unit in units)


def test_extras_by_environment() -> None:
    """NVIDIA's runtime is asked by variables, and for channels by mounts where mounts are the way."""
    found = got(WHOLE, by("envvar"), EXTRAS)
    assert found.envs == {
        "NVIDIA_VISIBLE_DEVICES": WHOLE.id,
        "NVIDIA_GDS": "enabled",
        "NVIDIA_MOFED": "enabled",
        "NVIDIA_GDRCOPY": "enabled",
        "NVIDIA_IMEX_CHANNELS": "0",
    }
    found = got(WHOLE, by("volume-mounts"), EXTRAS)
    assert f"{MOUNT_ROOT}/imex/0" in {mount.container_path for mount in found.mounts}
    assert "NVIDIA_IMEX_CHANNELS" not in found.envs


def test_extras_by_cdi() -> None:
    """Each extra is a CDI device, with an annotation of its own that several GPUs share."""
    state = ready(f"gpu={WHOLE.id}", f"gpu={OTHER.id}", "gds=all", "mofed=all", "gdrcopy=all", "imex-channel=0")
    found = got(WHOLE, by("cdi-cri", "cdi-annotations"), EXTRAS, state)
    assert [name.rpartition("/")[2] for name in found.cdi_devices] == [
        f"gpu={WHOLE.id}",
        "gds=all",
        "mofed=all",
        "gdrcopy=all",
        "imex-channel=0",
    ]
    both = merge([found, got(OTHER, by("cdi-cri", "cdi-annotations"), EXTRAS, state)])
    assert len(both.annotations) == len(both.cdi_devices) == 6


def test_extras_by_device_specs() -> None:
    """Their nodes, as far as they are there."""
    found = [node.host_path for node in got(WHOLE, by(specs=True), EXTRAS).device_nodes]
    assert found[5:] == [*NODES.gds, *NODES.mofed, *NODES.gdrcopy, NODES.imex[0]]
    assert len(got(WHOLE, by(specs=True), EXTRAS, nodes=Nodes(gpus=NODES.gpus)).device_nodes) == 1


def test_extras_belong_to_a_resource() -> None:
    """Only containers with that resource get them; ``*`` stands for all others."""
    text = "extras: {nvidia.com/gpu: {gds: true}, '*': {mofed: true}}"
    assert set(got(WHOLE, by("envvar"), text).envs) == {"NVIDIA_VISIBLE_DEVICES", "NVIDIA_GDS"}
    assert set(got(MIG, by("envvar"), text).envs) == {"NVIDIA_VISIBLE_DEVICES", "NVIDIA_MOFED"}


def test_a_cdi_name_that_cannot_be_resolved_is_not_given() -> None:
    """A runtime would refuse to start the container; so the name is left out, and Allocate is refused with the reason."""
    names: tuple[DeviceList, ...] = ("envvar", "cdi-cri", "cdi-annotations")
    assert got(WHOLE, by(*names), cdi=ready()) == got(WHOLE, by("envvar"))
    assert refusal(WHOLE, by(*names), NODES, config_of(), READY) == ""
    assert BROKEN.problem in refusal(WHOLE, by(*names), NODES, config_of(), BROKEN)
    assert "/dev/nvidia5" in refusal(WHOLE, by(*names), Nodes(), config_of(), ready())
    conflict = CdiState("/c", conflicts=("/c/x.json, which is not ours, defines devices of our kind",))
    assert "not ours" in refusal(WHOLE, by(*names), NODES, config_of(), conflict)


def test_the_other_ways_refuse_nothing() -> None:
    """NVIDIA's runtime makes nodes by itself: what we do not see is no reason to fail."""
    assert refusal(WHOLE, by("envvar", "volume-mounts", specs=True), Nodes(), config_of(), BROKEN) == ""


def test_a_required_channel_must_be_there() -> None:
    """Without the channel the container would start and fail later."""
    text = "extras: {gpu: {imexChannels: [0, 1], imexRequired: true}}"
    assert "channel1 is required" in refusal(WHOLE, by("envvar"), NODES, config_of(text), READY)
    assert refusal(WHOLE, by("envvar"), NODES, config_of(text.replace(", 1", "")), READY) == ""


def test_a_channel_that_is_not_required_may_be_missing() -> None:
    """Also where CDI would have to name it."""
    text = "extras: {gpu: {imexChannels: [0, 1]}}"
    assert refusal(WHOLE, by("cdi-cri"), NODES, config_of(text), ready(f"gpu={WHOLE.id}")) == ""
    required = text.replace("1]", "1], imexRequired: true")
    assert "channel" in refusal(WHOLE, by("cdi-cri"), NODES, config_of(required), ready(f"gpu={WHOLE.id}"))


def test_auto_without_evidence() -> None:
    """By default nothing is risked: the variable and the nodes, and it is said why CDI is not used."""
    found = choose(config_of(), READY)
    assert (found.names, found.device_specs, found.problem) == (("envvar",), True, "")
    assert "nothing says that the container runtime knows CDI" in found.reason


@pytest.mark.parametrize(("text", "evidence"), [("runtimeCdi: true", ""), ("{}", "the node runs containerd 2.1")])
def test_auto_with_evidence(text: str, evidence: str) -> None:
    """By the setting or by what the node says of itself, CDI is added and the evidence is named."""
    found = choose(config_of(text), READY, evidence)
    assert (found.names, found.device_specs) == (("envvar", "cdi-cri"), True)
    assert (evidence or "the setting runtimeCdi") in found.reason


@pytest.mark.parametrize(
    ("runtime", "kubelet", "enough"),
    [
        ("containerd://2.0.3", "v1.31.2", True),
        ("containerd://2.1.0-rc.0", "v1.29.0-eks-1234", True),
        ("cri-o://1.29.1", "v1.29.4", True),
        ("containerd://1.7.27", "v1.33.0", False),  # knows CDI, but it is switched off unless somebody switches it on
        ("containerd://2.0.3", "v1.28.9", False),
        ("cri-o://1.22.5", "v1.29.4", False),
        ("docker://27.0.1", "v1.33.0", False),
        ("containerd://unknown", "v1.33.0", False),
        ("", "", False),
    ],
)
def test_what_a_node_says_of_itself(runtime: str, kubelet: str, enough: bool) -> None:
    """Only a runtime that has CDI switched on, below a kubelet that passes it on, is evidence; it is named."""
    found = node_evidence(runtime, kubelet)
    assert bool(found) == enough
    assert not found or (kubelet in found and runtime.partition("://")[2] in found)


def test_auto_without_a_directory() -> None:
    """Strategy and reason change where CDI cannot work, and they change back."""
    config = config_of("runtimeCdi: true")
    found = choose(config, BROKEN)
    assert found.names == ("envvar",)
    assert BROKEN.problem in found.reason
    assert found.problem == BROKEN.problem
    assert choose(config, READY).problem == ""


def test_named_ways_are_gone_as_named() -> None:
    """No device specs unless asked for; never with CDI alone."""
    assert choose(config_of("deviceListStrategy: [volume-mounts]"), READY).device_specs is False
    both = choose(config_of("{deviceListStrategy: [cdi-cri, envvar], passDeviceSpecs: true}"), READY)
    assert (both.names, both.device_specs) == (("cdi-cri", "envvar"), True)
    alone = choose(config_of("{deviceListStrategy: [cdi-cri], passDeviceSpecs: true}"), READY)
    assert (alone.names, alone.device_specs) == (("cdi-cri",), False)
    assert choose(config_of("{passDeviceSpecs: false}"), READY).device_specs is False


def test_named_ways_without_a_directory() -> None:
    """Other ways go on without CDI; where CDI alone is wanted, it stays, and containers are refused rather than left without."""
    some = choose(config_of("deviceListStrategy: [cdi-cri, envvar]"), BROKEN)
    assert some.names == ("envvar",)
    assert BROKEN.problem in some.reason
    only = config_of("deviceListStrategy: [cdi-annotations]")
    alone = choose(only, BROKEN)
    assert alone.names == ("cdi-annotations",)
    assert BROKEN.problem in alone.problem
    assert refusal(WHOLE, alone, NODES, only, BROKEN)
    assert edits(WHOLE, alone, NODES, only, BROKEN) == ContainerEdits()
    assert choose(config_of("deviceListStrategy: [envvar]"), BROKEN).problem == ""


def test_no_way_at_all() -> None:
    """An empty list is only sensible with device specs; without, it is told."""
    assert choose(config_of("{deviceListStrategy: [], passDeviceSpecs: true}"), READY).problem == ""
    assert "no way" in choose(config_of("deviceListStrategy: []"), READY).problem


def test_a_reason_is_always_given() -> None:
    """People can read why, whatever is configured and whatever is there."""
    texts = ("{}", "runtimeCdi: true", "deviceListStrategy: [cdi-cri]", "deviceListStrategy: []", "passDeviceSpecs: false")
    for text, state, evidence in product(texts, (READY, BROKEN), ("", "the node says so")):
        config: NvidiaGpuConfig = config_of(text)
        assert choose(config, state, evidence).reason

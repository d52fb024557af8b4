"""Whatever broken hardware says: reading it raises nothing, and what comes of it can be sent and shown."""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor import Host, HostView
from supervisor_fpga.backends.attributes import Attributes
from supervisor_fpga.backends.declared import Described
from supervisor_fpga.backends.dfl import Dfl
from supervisor_fpga.backends.ma35 import Ma35
from supervisor_fpga.backends.manager import Manager
from supervisor_fpga.backends.opae import Opae
from supervisor_fpga.backends.protocol import BackEnd
from supervisor_fpga.backends.vfio import PassThrough
from supervisor_fpga.backends.xrt import Xrt
from supervisor_fpga.config import Declared, Vfio
from supervisor_fpga.report import Function
from supervisor_fpga.simulate.tree import Tree
from tests.bed.scratch import scratch
from tests.plugins.fpga.machines import MACHINES

NOT_ASKED = ("uevent", "dev", "numa_node", "class", "vendor", "device")
"""What the kernel itself says."""

FAMILIES: Mapping[str, Callable[[], BackEnd]] = {
    "dfl": Dfl,
    "opae": Opae,
    "kria": Manager,
    "u250": Xrt,
    "ma35d": Ma35,
    "vfio": partial(PassThrough, [Vfio("8086", "bccf")]),
    "declared": partial(Described, [Declared(name="acme", subsystem="acme", attributes={"model": "*"})]),
}

texts = st.one_of(
    st.binary(max_size=80),
    st.sampled_from(
        [b"", b"0x" + b"f" * 16, b"-1", b"99999999999999999999", b"f" * 32, b"0" * 32, b"8.0 GT/s PCIe", b"nan", b"1e999"]
    ),
    st.integers().map(lambda value: f"{value}\n".encode()),
)


@pytest.fixture(
    scope="module",
    params=["dfl_two_ports", "dfl_vf_of_card", "opae_tree", "kria", "u250_qdma", "ma35d", "vfio_vf", "declared_card"],
)
def planted(request: pytest.FixtureRequest) -> Iterator[tuple[BackEnd, Tree, list[Path]]]:
    """A machine, the back end that reads it, and the attributes for which a driver may ask the hardware."""
    family = FAMILIES[request.param.partition("_")[0]]
    with scratch() as folder:
        tree = Tree(folder / "tree", MACHINES[request.param]())
        yield family(), tree, sorted(path for path in (tree.sys / "devices").rglob("*") if asked(path))
        tree.close()


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
@given(data=st.data())
def test_nothing_that_hardware_says_is_too_odd(planted: tuple[BackEnd, Tree, list[Path]], data: st.DataObject) -> None:
    """In any of its attributes; each function keeps its id, or says why it has none."""
    back_end, tree, files = planted
    host = Host(sysfs=str(tree.sys), dev=str(tree.dev))
    found = back_end.find(HostView(host)).functions
    chosen = data.draw(st.lists(st.sampled_from(files), min_size=1, max_size=4, unique=True))
    before = {path: path.read_bytes() for path in chosen}
    try:
        for path in chosen:
            path.write_bytes(data.draw(texts))
        for function in found:
            said = back_end.read(Attributes(host), function)
            assert said.id.isascii()
            assert len(said.id) <= 63
            assert "".join((said.problem, said.shell, said.evidence.state, *said.evidence.status)).isprintable()
            assert said.id or said.problem
            assert msgspec.msgpack.decode(msgspec.msgpack.encode(said), type=Function) == said
            assert all(sensor.value is None or math.isfinite(sensor.value) for sensor in said.evidence.sensors)
            assert not {sensor.name for sensor in said.evidence.sensors if not sensor.name.isprintable()}
    finally:
        for path, text in before.items():
            path.write_bytes(text)


def asked(path: Path) -> bool:
    """Whether it is such an attribute."""
    return path.is_file() and not path.is_symlink() and path.name not in NOT_ASKED

"""Looking at the host: names, links, reads and patterns, never out of the configured roots."""

import glob
import os
import pickle
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import Host, HostView, glob_pattern
from supervisor.host import view as view_module
from tests.bed.fakesys import Node, Tree


def host_of(root: Path) -> Host:
    """The roots of a tree on disk."""
    return Host(sysfs=str(root / "sys"), dev=str(root / "dev"), proc=str(root / "proc"), run_udev=str(root / "run/udev"))


def view_of(tree: Tree) -> HostView:
    return HostView(host_of(tree.root))


WORDS = st.lists(st.text("abc.*-!é", min_size=1, max_size=5).filter(lambda word: word not in {".", ".."}), max_size=4)


@given(st.sampled_from(["/sys", "/dev", "/proc", "/run/udev"]), WORDS, st.sampled_from(["", "/somewhere", "/some/where"]))
def test_names_map_to_our_paths_and_back(root: str, words: list[str], elsewhere: str) -> None:
    """Wherever the roots are mounted, a name of the host survives the way here and back."""
    host = Host(f"{elsewhere}/sys", f"{elsewhere}/dev", f"{elsewhere}/proc", f"{elsewhere}/run/udev")
    name = "/".join([root, *words])
    local = host.local(name)
    assert local == elsewhere + name
    assert host.name_of(local) == name


@pytest.mark.parametrize("name", ["/", "/etc/passwd", "/devices", "/dev/../etc/passwd", "/run", "dev/null", ""])
def test_nothing_else_is_the_hosts(name: str) -> None:
    """Names outside the four directories have no path here."""
    assert Host().local(name) is None


def test_roots_travel_to_other_processes() -> None:
    """A plugin in a process of its own gets them by pickle or by message."""
    host = Host(sysfs="/host/sys", run_udev="/host/run/udev")
    assert pickle.loads(pickle.dumps(host)) == host
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(host), type=Host) == host


@given(st.text("ab[]!^-*?&~|\\(){}.\n", max_size=8), st.text("ab[]", max_size=4))
def test_every_text_is_a_pattern(pattern: str, text: str) -> None:
    """No pattern of an operator breaks a look, and a text without wildcards matches itself alone."""
    matched = glob_pattern(pattern).match(text)
    if not set(pattern) & set("[]*?"):
        assert (matched is not None) == (pattern == text)


def test_the_deepest_root_names_a_path() -> None:
    """Where one root lies in another, the inner one decides what a path is called."""
    host = Host(sysfs="/host", dev="/host/dev")
    assert host.name_of("/host/dev/fuse") == "/dev/fuse"
    assert host.name_of("/host/class") == "/sys/class"
    assert host.name_of("/other") is None


def test_an_absolute_link_stays_inside_the_root(tree: Tree) -> None:
    """A link of the host to /dev/... leads to the host's /dev, not to ours."""
    (tree.dev / "null").write_text("not the real one")
    (tree.dev / "link").symlink_to("/dev/null")
    view = view_of(tree)
    assert view.resolve("/dev/link") == "/dev/null"
    node = view.node("/dev/link")
    assert node is not None
    assert (node.name, node.path, node.kind, node.number) == ("/dev/link", "/dev/null", "regular file", None)


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "../../../../../../etc/passwd", "/", "..", "loop", "missing", "../sys/../../x", "a" * 3000]
)
def test_a_link_that_leads_nowhere_of_ours_is_nothing(tree: Tree, target: str) -> None:
    """Out of the roots, in circles or to nothing: such a link is as good as absent."""
    (tree.dev / "loop").symlink_to(target)
    view = view_of(tree)
    assert view.node("/dev/loop") is None
    assert view.read("/dev/loop") is None


def test_links_between_the_roots_are_followed(tree: Tree) -> None:
    """A relative link may climb to the host's root and come down into another of its directories."""
    tree.add("/devices/virtual/mem/zero", cls="mem", attrs={"text": "zero"})
    (tree.dev / "up").symlink_to("../sys/class/mem")
    assert view_of(tree).read("/dev/up/zero/text") == "zero"


def test_links_through_links_take_the_kernels_turn(tree: Tree) -> None:
    """After a link, ``..`` goes up from where the link led, as in the kernel."""
    (tree.dev / "a/b").mkdir(parents=True)
    (tree.dev / "a/here").write_text("")
    (tree.dev / "short").symlink_to("a/b")
    (tree.dev / "up").symlink_to("short/../here")
    assert view_of(tree).resolve("/dev/up") == "/dev/a/here"


def test_a_read_is_bounded_and_only_of_files(tree: Tree) -> None:
    """At most the limit is read; directories, pipes, device nodes and what is missing read as nothing."""
    directory = tree.path("/devices/odd")
    directory.mkdir()
    (directory / "long").write_bytes(b"x" * 10_000 + b"\n")
    (directory / "bytes").write_bytes(b"\xff\xfe\n\n")
    os.mkfifo(directory / "pipe")
    (tree.dev / "file").write_text("secret")
    view = view_of(tree)
    assert view.read("/sys/devices/odd/long") == "x" * 4096
    assert view.read("/sys/devices/odd/bytes") == "\ufffd\ufffd"
    for name in ("/sys/devices/odd/pipe", "/sys/devices/odd", "/sys/devices/odd/none", "/dev/file", "/etc/passwd"):
        assert view.read(name) is None


def test_one_look_reads_everything_once(tree: Tree) -> None:
    """What a view has seen stays as it was; the next view sees the change."""
    tree.add("/devices/virtual/mem/zero", cls="mem", attrs={"text": "old"})
    view = view_of(tree)
    assert view.read("/sys/class/mem/zero/text") == "old"
    assert len(view.devices("mem")) == 1
    tree.set("/devices/virtual/mem/zero", text="new")
    tree.add("/devices/virtual/mem/full", cls="mem")
    assert view.read("/sys/class/mem/zero/text") == "old"
    assert len(view.devices("mem")) == 1
    assert view_of(tree).read("/sys/class/mem/zero/text") == "new"
    assert len(view_of(tree).devices("mem")) == 2


def test_what_vanishes_in_the_middle_of_a_look_is_passed_over(tree: Tree) -> None:
    """A device that left between the listing and the reading is absent, not an error."""
    tree.add("/devices/virtual/mem/zero", cls="mem", attrs={"text": "here"})
    tree.add("/devices/virtual/mem/full", cls="mem")
    view = view_of(tree)
    assert view.names("/sys/class/mem") == ("full", "zero")
    held = view.device("/sys/class/mem/full")
    tree.remove("/devices/virtual/mem/zero")
    tree.remove("/devices/virtual/mem/full")
    assert view.devices("mem") == (held,)
    assert held is not None
    assert (held.attribute("text"), held.subsystem, held.driver, held.udev) == (None, None, None, None)


@pytest.fixture
def files(tree: Tree) -> Tree:
    """A few names of every kind."""
    for name in ("ttyUSB0", "ttyUSB2", "ttyUSB10", "ttyACM0", ".hidden", "snd/pcmC0D0p", "snd/by-path/x", "disk/by-id/y"):
        (tree.dev / name).parent.mkdir(parents=True, exist_ok=True)
        (tree.dev / name).write_text("")
    (tree.dev / "linked").symlink_to("snd")
    (tree.dev / "dangling").symlink_to("nothing")
    return tree


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("/dev/ttyUSB*", ["/dev/ttyUSB0", "/dev/ttyUSB2", "/dev/ttyUSB10"]),
        ("/dev/ttyUSB?", ["/dev/ttyUSB0", "/dev/ttyUSB2"]),
        ("/dev/tty[AB]*", ["/dev/ttyACM0"]),
        ("/dev/ttyUSB[!02]*", ["/dev/ttyUSB10"]),
        ("/dev/snd/*", ["/dev/snd/by-path", "/dev/snd/pcmC0D0p"]),
        ("/dev/linked/pcm*", ["/dev/linked/pcmC0D0p"]),
        ("/dev/**/[xy]", ["/dev/disk/by-id/y", "/dev/snd/by-path/x"]),
        ("/dev/snd/**", ["/dev/snd/by-path", "/dev/snd/by-path/x", "/dev/snd/pcmC0D0p"]),
        ("/dev/.h*", ["/dev/.hidden"]),
        ("/dev/*hidden", []),
        ("/dev/ttyACM0", ["/dev/ttyACM0"]),
        ("/dev/none", []),
        ("/*/ttyACM0", []),
        ("/etc/*", []),
    ],
)
def test_patterns(files: Tree, pattern: str, names: list[str]) -> None:
    """Shell patterns find names in natural order, pass over hidden ones and follow links only where they are named."""
    assert list(view_of(files).glob(pattern)) == names


def test_a_pattern_may_find_a_link_to_nothing(files: Tree) -> None:
    """The name is there; that nothing lies behind it is told by ``node``."""
    view = view_of(files)
    assert view.glob("/dev/dang*") == ("/dev/dangling",)
    assert view.node("/dev/dangling") is None


STEPS = st.text("ab*?", min_size=1, max_size=3).filter(lambda step: "**" not in step)


@given(
    st.sets(st.lists(st.text("ab", min_size=1, max_size=2), min_size=1, max_size=3).map("/".join), max_size=8),
    st.lists(STEPS, min_size=1, max_size=2),
    st.booleans(),
)
def test_patterns_agree_with_the_standard_library(names: set[str], steps: list[str], deep: bool) -> None:
    """On any tree without links, a pattern finds what Python's own ``glob`` finds."""
    with tempfile.TemporaryDirectory() as root:
        for name in names:
            (Path(root) / "dev" / name).mkdir(parents=True, exist_ok=True)
        pattern = "/".join(["/dev", *(["**"] if deep else []), *steps])
        found = HostView(host_of(Path(root))).glob(pattern)
        assert {root + name for name in found} == set(glob.glob(root + pattern, recursive=True))  # noqa: PTH207 - the model


def test_too_many_entries_are_cut_and_said(files: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory without end costs a bounded look, and the view says so once."""
    monkeypatch.setattr(view_module, "MAX_ENTRIES", 3)
    view = view_of(files)
    assert len(view.names("/dev")) == 3
    assert set(view.glob("/dev/*")) <= {f"/dev/{name}" for name in view.names("/dev")}
    assert view.problems == ["/dev has more than 3 entries; the rest is not looked at"]


def test_a_tree_without_end_is_walked_to_a_depth(tree: Tree) -> None:
    """Very deep directories and names end the walk, not the process."""
    (tree.dev / "/".join("d" * 200)).mkdir(parents=True)
    view = view_of(tree)
    assert 0 < len(view.glob("/dev/**/d")) <= view_module.MAX_DEPTH
    assert view.resolve("/dev/" + "/".join("d" * 200)) is None
    assert view.resolve("/dev/" + "x" * 5000) is None


@pytest.mark.root
def test_nodes_are_told_by_stat_alone(tree: Tree) -> None:
    """Kind and numbers of character and block devices are known, and the device behind them is found by number."""
    tree.add("/devices/virtual/misc/fuse", cls="misc", node=Node("fuse", 10, 229))
    tree.add("/devices/virtual/block/loop0", cls="block", node=Node("loop0", 7, 0, block=True))
    tree.add_node(Node("nvidia0", 195, 0))
    view = view_of(tree)
    fuse, loop, nvidia = (view.node(f"/dev/{name}") for name in ("fuse", "loop0", "nvidia0"))
    assert fuse is not None
    assert loop is not None
    assert nvidia is not None
    assert (fuse.kind, fuse.number, fuse.is_device) == ("character device", (10, 229), True)
    assert (loop.kind, loop.number, loop.is_device) == ("block device", (7, 0), True)
    assert [device and device.name for device in map(view.device_of, (fuse, loop, nvidia))] == ["fuse", "loop0", None]

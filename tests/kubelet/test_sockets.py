"""Our files in the kubelet's directory: names that fit, links that come and go, and nobody else's files touched."""

import os
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor.errors import NodeError
from supervisor.kubelet.sockets import (
    KUBELET_SOCKET,
    MAX_SOCKET_PATH,
    FileIdentity,
    ProcessDirectory,
    accepts,
    foreign_sockets,
    look_at,
    private_sockets,
)
from supervisor.ownership import HIDDEN_NAME
from tests.kubelet.rig import WIDGET, short_directory

PUBLIC = re.compile(r"dps-example-com-widget-[0-9a-f]{6}-[0-9a-f]{8}\.sock")


@pytest.fixture
def directory() -> Iterator[Path]:
    """Give a device-plugins directory with a short name."""
    with short_directory() as path:
        yield path


@pytest.fixture
def sockets() -> Iterator[ExitStack]:
    """Keep sockets open until the end of the test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def own(directory: Path) -> Iterator[ProcessDirectory]:
    """Give the process directory of a living process."""
    own = ProcessDirectory.create(directory)
    yield own
    with suppress(OSError):
        os.close(own._lock)


def bind(sockets: ExitStack, path: Path, *, listen: bool = True) -> socket.socket:
    """A socket at this path."""
    bound = sockets.enter_context(socket.socket(socket.AF_UNIX))
    bound.bind(str(path))
    if listen:
        bound.listen()
    return bound


def die(process: ProcessDirectory) -> None:
    """What the kernel does when that process ends."""
    os.close(process._lock)


def tree(directory: Path) -> set[str]:
    """All paths below it."""
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


# --- looking ----------------------------------------------------------------------------------------------------------


def test_the_kubelets_socket_is_seen_and_told_apart(directory: Path, sockets: ExitStack) -> None:
    """Each new one has another identity, also when it got the old one's inode."""
    seen = set()
    for _ in range(3):
        bind(sockets, directory / KUBELET_SOCKET)
        view = look_at(directory)
        assert (view.obstacle, view.unlinked) == ("", False)
        assert view.kubelet is not None
        seen.add((view.kubelet.device, view.kubelet.inode, view.kubelet.changed_ns))
        (directory / KUBELET_SOCKET).unlink()
    assert len(seen) == 3


def test_the_identity_of_the_directory_is_that_of_its_inode(directory: Path) -> None:
    """What lies in it does not matter; another directory at the path does."""
    before = look_at(directory).identity
    (directory / "file").touch()
    assert look_at(directory).identity == before
    directory.rename(f"{directory}.old")
    directory.mkdir()
    assert look_at(directory).identity != before
    (Path(f"{directory}.old") / "file").unlink()
    Path(f"{directory}.old").rmdir()


def test_what_stands_in_the_way_is_said(directory: Path) -> None:
    """No directory, a file in its place, no socket, a file or a link in the socket's place."""
    assert "No such file" in look_at(directory / "absent").obstacle
    assert look_at(directory / "absent").identity is None
    assert KUBELET_SOCKET in look_at(directory).obstacle
    (directory / KUBELET_SOCKET).touch()
    assert "not a socket" in look_at(directory).obstacle
    assert "not a directory" in look_at(directory / KUBELET_SOCKET).obstacle
    (directory / KUBELET_SOCKET).unlink()
    (directory / KUBELET_SOCKET).symlink_to("elsewhere")
    view = look_at(directory)
    assert (view.kubelet, "not a socket" in view.obstacle) == (None, True)


def test_a_directory_that_was_removed_under_us_is_seen(directory: Path) -> None:
    """Through a descriptor, as through a bind mount: it is still there, and in no other directory."""
    (directory / "gone").mkdir()
    descriptor = os.open(directory / "gone", os.O_RDONLY)
    try:
        view = Path(f"/proc/self/fd/{descriptor}")
        assert not look_at(view).unlinked
        (directory / "gone").rmdir()
        assert look_at(view).unlinked
        assert "removed" in look_at(view).obstacle
    finally:
        os.close(descriptor)


def test_only_a_listening_socket_accepts(directory: Path, sockets: ExitStack) -> None:
    """Not one that is bound, nor a stale one, none at all, or a path that no socket can have."""
    path = directory / "x.sock"
    assert not accepts(path)
    bound = bind(sockets, path, listen=False)
    assert not accepts(path)
    bound.listen()
    assert accepts(path)
    bound.close()
    assert path.exists()
    assert not accepts(path)
    assert not accepts(directory / ("x" * 200))


def test_a_busy_listener_accepts(directory: Path, sockets: ExitStack) -> None:
    """Its backlog is full, so it is there."""
    path = directory / "x.sock"
    bind(sockets, path).listen(0)

    def connect() -> None:
        waiting = sockets.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
        waiting.connect(str(path))

    connect()  # Linux lets one more wait than the backlog says
    with pytest.raises(BlockingIOError):
        connect()
    assert accepts(path)


def test_sockets_of_other_plugins_are_foreign(directory: Path, sockets: ExitStack, own: ProcessDirectory) -> None:
    """Neither the kubelet's nor ours, nor what is no socket; but those of a supervisor that does not share our lock."""
    bind(sockets, own.private_path(WIDGET))
    name = own.link(WIDGET)
    assert name
    bind(sockets, directory / KUBELET_SOCKET)
    (directory / "kubelet_internal_checkpoint").touch()
    (directory / "dangling.sock").symlink_to("nowhere")
    assert foreign_sockets(directory, {name}) == ()
    bind(sockets, directory / "nvidia.sock")
    bind(sockets, directory / "a.sock")
    assert foreign_sockets(directory, {name}) == ("a.sock", "nvidia.sock")
    assert foreign_sockets(directory, ()) == ("a.sock", name, "nvidia.sock")


# --- a directory of one's own -----------------------------------------------------------------------------------------


def test_each_process_has_a_directory_of_its_own(directory: Path, own: ProcessDirectory) -> None:
    """Hidden from the kubelet's clean-up in a directory, and recognised by nothing but its lock."""
    other = ProcessDirectory.create(directory)
    assert own.path != other.path
    assert own.path.parent == other.path.parent == directory / HIDDEN_NAME
    assert own.predecessors() == ()
    die(other)
    assert own.predecessors() == (other.path,)


def test_a_directory_that_cannot_be_written_is_for_the_operator() -> None:
    """The text says what to do."""
    with pytest.raises(NodeError, match="cannot write to /proc"):
        ProcessDirectory.create(Path("/proc"))


def test_every_directory_has_sockets_that_can_be_bound_or_is_refused(directory: Path, sockets: ExitStack) -> None:
    """Up to the last byte: nobody learns at the first registration that a path is too long."""
    resource = f"{'long.' * 20}example.com/{'w' * 63}"
    outcomes = []
    folder = directory
    for length in range(len(str(directory)) + 2, MAX_SOCKET_PATH + 1):
        folder = directory / ("d" * (length - len(str(directory)) - 1))
        folder.mkdir()
        try:
            own = ProcessDirectory.create(folder)
        except NodeError:
            assert tree(folder) == set()
            outcomes.append(False)
            continue
        outcomes.append(True)
        bind(sockets, own.private_path(resource))
        name = own.link(resource)
        assert name is not None
        assert accepts(folder / name)
        own.remove()
    assert outcomes == sorted(outcomes, reverse=True)
    assert True in outcomes
    with pytest.raises(NodeError, match="too long"):
        ProcessDirectory.create(folder)


NAMES = st.builds(
    "{}/{}".format, st.from_regex(r"\A[a-z]([-a-z.]{0,240}[a-z])?\Z"), st.from_regex(r"\A[A-Za-z]([-A-Za-z_.]{0,61}[a-z])?\Z")
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(NAMES, max_size=5, unique=True))
def test_names_fit_differ_and_are_recognised(own: ProcessDirectory, resources: list[str]) -> None:
    """Whatever resources are called."""
    private = {own.private_path(resource) for resource in resources}
    public = {own.public_name(resource) for resource in resources for _ in range(2)}
    assert len(private) == len(resources)
    assert len(public) == 2 * len(resources)
    assert all(len(os.fsencode(path)) <= MAX_SOCKET_PATH for path in private)
    assert all(len(os.fsencode(own.directory / name)) <= MAX_SOCKET_PATH for name in public)
    assert all(re.fullmatch(r"dps-[a-z0-9-]+-[0-9a-f]{8}\.sock", name) for name in public)


# --- links ------------------------------------------------------------------------------------------------------------


def test_a_link_is_another_name_of_the_socket(directory: Path, sockets: ExitStack, own: ProcessDirectory) -> None:
    """A fresh one for each registration, and each reaches the server."""
    bind(sockets, own.private_path(WIDGET))
    names = [own.link(WIDGET) for _ in range(3)]
    assert len(set(names)) == 3
    for name in names:
        assert name is not None
        assert PUBLIC.fullmatch(name)
        assert accepts(directory / name)


def test_a_link_that_was_removed_is_put_back(directory: Path, sockets: ExitStack, own: ProcessDirectory) -> None:
    """Harmless where it is still there, and where it cannot be."""
    bind(sockets, own.private_path(WIDGET))
    name = own.link(WIDGET)
    assert name is not None
    (directory / name).unlink()
    own.relink(WIDGET, name)
    own.relink(WIDGET, name)
    assert accepts(directory / name)
    own.unlink(name)
    own.unlink(name)
    assert not (directory / name).exists()
    own.private_path(WIDGET).unlink()
    own.relink(WIDGET, name)
    assert not (directory / name).exists()


def test_where_nothing_can_be_linked_there_is_no_name(own: ProcessDirectory) -> None:
    """Here because there is no socket; a file system without links answers alike."""
    assert own.link(WIDGET) is None


def test_a_process_that_ends_well_leaves_nothing(directory: Path, sockets: ExitStack, own: ProcessDirectory) -> None:
    """Nor does it take anything with it, whether its servers have removed their own sockets or not."""
    bind(sockets, directory / "foreign.sock")
    (directory / "kubelet_internal_checkpoint").touch()
    for resource in (WIDGET, "a.b/c"):
        bind(sockets, own.private_path(resource))
        assert own.link(resource)
    own.private_path("a.b/c").unlink()
    own.remove()
    assert tree(directory) == {"foreign.sock", "kubelet_internal_checkpoint", HIDDEN_NAME}


# --- the dead ---------------------------------------------------------------------------------------------------------


def dead_process(directory: Path, sockets: ExitStack) -> ProcessDirectory:
    """What a killed process leaves: sockets that nobody listens at, and links to them."""
    process = ProcessDirectory.create(directory)
    for resource in (WIDGET, "a.b/c"):
        bound = bind(sockets, process.private_path(resource))
        assert process.link(resource)
        bound.close()
    die(process)
    return process


def test_the_dead_are_swept_with_their_links(directory: Path, sockets: ExitStack, own: ProcessDirectory) -> None:
    """And with nothing else: not a living process's links, not a foreign socket, not one that only has such a name."""
    bind(sockets, own.private_path(WIDGET))
    living = own.link(WIDGET)
    alike = own.public_name(WIDGET)
    bind(sockets, directory / alike)
    bind(sockets, directory / "foreign.sock")
    before = tree(directory)
    dead = dead_process(directory, sockets)
    assert own.predecessors() == (dead.path,)
    assert len(private_sockets(dead.path)) == 2
    own.sweep(dead.path)
    assert tree(directory) == before
    assert {living, alike} <= before
    assert own.predecessors() == ()


def test_the_dead_are_swept_with_their_own_public_sockets(directory: Path, sockets: ExitStack, own: ProcessDirectory) -> None:
    """Where links are refused a server is bound under its public name, which only the dead process's note tells."""
    before = tree(directory)
    dead = ProcessDirectory.create(directory)
    name = dead.claim(WIDGET)
    assert PUBLIC.fullmatch(name)
    bind(sockets, directory / name)
    assert private_sockets(dead.path) == ()
    die(dead)
    own.sweep(dead.path)
    assert tree(directory) == before


def test_the_living_are_no_predecessors(directory: Path, own: ProcessDirectory) -> None:
    """Whoever holds the lock lives, in whatever pod."""
    other = ProcessDirectory.create(directory)
    assert own.predecessors() == ()
    assert other.predecessors() == ()
    other.remove()


def test_a_process_that_is_being_born_is_left_alone(directory: Path, own: ProcessDirectory) -> None:
    """Its directory has no name yet; one that has been nameless for long belongs to nobody."""
    newborn = directory / HIDDEN_NAME / ".0123abcd"
    newborn.mkdir()
    (newborn / "lock").touch()
    assert own.predecessors() == ()
    os.utime(newborn, (0, 0))
    assert own.predecessors() == (newborn,)
    own.sweep(newborn)
    assert not newborn.exists()


def test_what_others_put_beside_us_is_never_touched(directory: Path, sockets: ExitStack, own: ProcessDirectory) -> None:
    """Files, directories of other names, and what lies in a dead process's directory without being its socket."""
    hidden = directory / HIDDEN_NAME
    (hidden / "notes").mkdir()
    (hidden / "notes" / "x.sock").touch()
    (hidden / "boot.json").touch()
    (hidden / "owner.lock").touch()
    dead = dead_process(directory, sockets)
    (dead.path / "keep.txt").touch()
    (dead.path / "folder.sock").mkdir()
    before = tree(hidden / "notes") | {"boot.json", "owner.lock"}
    for path in own.predecessors():
        own.sweep(path)
    assert (dead.path / "keep.txt").exists()
    assert (dead.path / "folder.sock").is_dir()
    assert private_sockets(dead.path) == (dead.path / "folder.sock",)
    assert before <= tree(hidden) | tree(hidden / "notes")


def test_sweeping_what_has_gone_meanwhile_is_harmless(directory: Path, sockets: ExitStack, own: ProcessDirectory) -> None:
    """Another sweeper was quicker."""
    dead = dead_process(directory, sockets)
    own.sweep(dead.path)
    own.sweep(dead.path)
    assert private_sockets(dead.path) == ()


def test_an_identity_is_more_than_an_inode() -> None:
    """Inode numbers are reused at once."""
    assert FileIdentity(1, 2, 3) != FileIdentity(1, 2, 4)

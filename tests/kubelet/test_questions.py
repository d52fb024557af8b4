"""Questions to sockets that others have bound: who is a device plugin, who is not, and who says nothing."""

from contextlib import closing
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket

import grpc

from supervisor.kubelet.questions import ask_options, ask_pod_resources
from supervisor.kubelet.simulator import KubeletSimulator
from tests.kubelet.simulator.bare_plugin import BarePlugin, Script


def test_each_socket_answers_for_itself(short_dir: Path) -> None:
    """A plugin, a server of something else, one that never answers, a dead one: asked at the same time, told apart."""
    mute, dead = short_dir / "mute.sock", short_dir / "dead%2Fsocket"
    with closing(socket(AF_UNIX, SOCK_STREAM)) as server, closing(socket(AF_UNIX, SOCK_STREAM)) as gone:
        gone.bind(str(dead))
        server.bind(str(mute))
        server.listen()
        gone.close()
        refusing = Script(options_error=(grpc.StatusCode.UNIMPLEMENTED, "what options?"))
        with (
            BarePlugin(short_dir, "example.com/a") as plugin,
            BarePlugin(short_dir, "example.com/b", script=refusing) as other,
        ):
            good, bad = short_dir / plugin.endpoint, short_dir / other.endpoint
            answers = ask_options([good, bad, mute, dead], timeout=0.5)
    assert list(answers) == [good, bad, mute, dead]
    assert answers[good] == ""
    assert answers[bad] == "UNIMPLEMENTED"
    assert answers[mute] in {"DEADLINE_EXCEEDED", "UNAVAILABLE"}
    assert answers[dead] == "UNAVAILABLE"


def test_nobody_asked_nobody_answers() -> None:
    """No socket, no answer."""
    assert ask_options([]) == {}


def test_pod_resources_are_asked_from_any_thread(kubelet: KubeletSimulator) -> None:
    """A kubelet answers; where there is none, that is a reading too."""
    assert ask_pod_resources(str(kubelet.paths.pod_resources_socket)).complete
    reading = ask_pod_resources("/nowhere/kubelet.sock")
    assert not reading.complete
    assert "No such file" in reading.reason

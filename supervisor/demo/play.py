"""The order of the acts, and the way out of them: by the end, by a failure, or by Ctrl-C."""

from collections.abc import Callable
from contextlib import ExitStack
from subprocess import SubprocessError
from typing import NamedTuple

from supervisor.demo import acts, fpgas, gpus, rdma
from supervisor.demo.interruptions import Interrupted, Interruptions
from supervisor.demo.place import workplace
from supervisor.demo.scene import Scene
from supervisor.demo.stage import Stage
from supervisor.errors import SupervisorError
from supervisor.kubelet.simulator import SimulatorError
from supervisor.plugins import installed


class Act(NamedTuple):
    """One act."""

    title: str
    sentence: str
    perform: Callable[[Scene], str]
    package: str = ""
    """The plugin package without which it is left out, by the name of its entry point."""


ACTS = (
    Act(
        "The devices of this machine",
        "All that was written is this; `device-plugin-supervisor devices` shows what it finds.",
        acts.look,
    ),
    Act(
        "A kubelet",
        "A simulated one, in a process of its own, with real sockets. The supervisor registers with it:",
        acts.register,
    ),
    Act(
        "Pods",
        "A pod is a child process here: it opens what Allocate named. No device cgroup is simulated.",
        acts.place_pods,
    ),
    Act(
        "The kubelet is killed",
        "SIGKILL, and another one starts on the same directory, knowing only its checkpoint.",
        acts.restart_kubelet,
    ),
    Act("A device is pulled out", "The gadget vanishes from this machine while a pod holds it, and returns.", acts.pull_out),
    Act("The supervisor is killed", "As in an upgrade, a second one is started first.", acts.hand_over),
    Act(
        "GPUs that are not here",
        f"The plugin {gpus.GPUS.plugin} can simulate them. The configuration of the running supervisor gets this:",
        gpus.simulate,
        gpus.GPUS.plugin,
    ),
    Act(
        "Network cards that are not here",
        f"The plugin {rdma.CARDS.plugin} can simulate RDMA devices. The configuration gets this, too:",
        rdma.simulate,
        rdma.CARDS.plugin,
    ),
    Act(
        "An FPGA that is not here",
        f"The plugin {fpgas.PLUGIN} can simulate one. It has two resources, each with a bitstream. The configuration gets this, too:",
        fpgas.simulate,
        fpgas.PLUGIN,
    ),
)


def perform(*, keep: bool = False) -> int:
    """Play it all and return the exit code: 0 if every act came true, 1 if not, as usual for signals.

    With ``keep`` the supervisor and the kubelet then go on until a signal, which is their normal end.
    """
    stage = Stage()
    stage.title(
        "device-plugin-supervisor, on this machine",
        "The real supervisor, real devices and a simulated kubelet. It takes seconds and leaves nothing behind.",
    )
    try:
        code = _on_stage(stage, keep=keep)
    except Interrupted as interrupted:
        stage.end("Interrupted. Nothing is left behind.", ())
        return 128 + interrupted.number
    except BrokenPipeError:
        raise  # nobody reads any more
    except OSError as error:
        stage.failed(f"not everything could be removed: {error}")
        return 1
    if code == 0:
        _what_now(stage)
    return code


def _on_stage(stage: Stage, *, keep: bool) -> int:
    """From the first thing that is made to the last that is removed."""
    with Interruptions() as interruptions, ExitStack() as exits:
        with interruptions.held():
            place = exits.enter_context(workplace())
        packages = frozenset(package.name for package in installed())
        scene = Scene(stage, exits, interruptions, place, packages)
        try:
            if not _play(scene):
                return 1
            return _go_on(scene) if keep else 0
        finally:
            interruptions.ignore()


def _play(scene: Scene) -> bool:
    """Whether all acts came true; the first that does not ends the play. Those without their package are left out."""
    for number, act in enumerate(ACTS, 1):
        if act.package and act.package not in scene.packages:
            missing = f"device-plugin-supervisor-{act.package}"
            scene.stage.act(number, act.title, f"Left out, since the plugin is missing: pip install {missing}")
            continue
        scene.stage.act(number, act.title, act.sentence)
        try:
            scene.stage.done(act.perform(scene))
        except BrokenPipeError:
            raise  # nobody reads any more
        except (SupervisorError, SimulatorError, SubprocessError, OSError) as error:
            scene.stage.failed(str(error) or type(error).__name__)
            for supervisor in filter(None, (scene.owner, scene.standby)):
                scene.stage.say(f"The end of {supervisor.log.name}:", "dim")
                scene.stage.quote(supervisor.last_words())
            return False
    return True


def _go_on(scene: Scene) -> int:
    """Stay until a signal, which is the normal end; 1 if the supervisor ends before."""
    assert scene.owner is not None
    url = scene.owner.url
    things = (
        (f"{url}/status", "what it is doing, as JSON"),
        (f"{url}/metrics", "the same for Prometheus"),
        (str(scene.config), "the configuration: edit it, and see the change at once"),
        (str(scene.owner.log), "the log"),
        (str(scene.kubelet.paths.device_plugins), "the kubelet's directory"),
    )
    try:
        # Said in here: who reads it may press Ctrl-C before the table is complete.
        scene.stage.end("It goes on running. Ctrl-C ends it, and removes everything.", things)
        scene.owner.wait()
    except Interrupted:
        return 0
    scene.stage.failed("the supervisor has ended")
    return 1


def _what_now(stage: Stage) -> None:
    stage.end(
        "That was all of it, and nothing is left behind. What now?",
        (
            ("device-plugin-supervisor demo --keep", "the same, and then it stays: status, metrics, hot reload"),
            ("device-plugin-supervisor --help", "all commands; `devices` tries your configuration"),
            ("README.md", "how it is installed on a cluster"),
            ("plugins/README.md", "how to write a plugin, in 30 lines"),
        ),
    )

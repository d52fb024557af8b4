"""Random faults, one after the other, and after each the invariant: soon, what the kubelet has is what the plugins say.

``python -m tests.system.chaos --examples 50`` is the campaign; it prints how often each kind of fault ran.
"""

import argparse
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from supervisor.host import Host
from supervisor.kubelet.simulator import ERAS, EventKind, Fault, KubeletSimulator
from tests.system.rig import DISTRIBUTION, RESOURCE, Process, Puppet, assert_sound, endpoints, install, quietly

OTHER = "example.com/other"
PATIENCE = 30.0
"""Seconds in which the invariant must hold again; mostly it takes milliseconds."""
SECTION = {"lookTimeout": 0.3, "unhealthyAfter": 3600}
MOODS = ("raise", "hang", "garbage")


class Chaos(RuleBasedStateMachine):
    """One node: a kubelet of some era, a supervisor with two plugins, and every kind of fault in a random order."""

    ran: ClassVar[Counter[str]] = Counter()
    """How often each kind of fault ran, over all examples."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.folder = Path(tempfile.mkdtemp(prefix="dps.", dir="/tmp"))
        self.stack.callback(shutil.rmtree, self.folder)
        self.puppets = {
            RESOURCE: Puppet(self.folder, "puppet", {RESOURCE: {"w0": "", "w1": ""}}),
            OTHER: Puppet(self.folder, "other", {OTHER: {"o0": "", "o1": "", "o2": ""}}),
        }
        self.said = {resource: dict(puppet.resources[resource]) for resource, puppet in self.puppets.items()}
        """What each plugin said when it was last well."""
        self.gone: dict[str, set[str]] = {resource: set() for resource in self.puppets}
        """Ids that vanished: they may still be listed, but never as healthy."""
        self.off: set[str] = set()
        self.ended: frozenset[str] = frozenset()
        """Endpoints of supervisors that have ended."""
        self.edition = 0
        self.pods = 0
        self.order: list[str] = []

    @initialize(era=st.sampled_from(sorted(ERAS)), seed=st.integers(0, 1 << 30))
    def begin(self, era: str, seed: int) -> None:
        """Everything runs and is served."""
        self.order = sorted(FAULTS)
        random.Random(seed).shuffle(self.order)
        self.kubelet = self.stack.enter_context(KubeletSimulator(self.folder / "k", era, sources_delay=0.0))
        self.process = self.another_process()
        self.settle(f"the start against {era}")

    @rule(seed=st.integers(0, 1 << 30))
    def strike(self, seed: int) -> None:
        """The next kind of fault, with parameters of chance."""
        kind = self.order.pop(0)
        self.order.append(kind)
        resource = random.Random(seed).choice(sorted(self.puppets))
        FAULTS[kind](self, random.Random(seed), resource)
        self.ran[kind] += 1
        self.settle(kind)

    def teardown(self) -> None:
        """Nothing was registered twice, and no kubelet saw what would have broken it."""
        with self.stack:
            if hasattr(self, "process"):
                assert_sound(self.kubelet, self.ended)

    # --- the invariant ------------------------------------------------------------------------------------------------

    def settle(self, after: str) -> None:
        """Wait until the kubelet has what the plugins say."""
        try:
            self.kubelet.wait_for(self.agrees, PATIENCE, f"after {after}: {self.said}, gone {self.gone}, off {self.off}")
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.kubelet.connected()}\n{self.process.log}") from error

    def agrees(self) -> bool:
        """Whether it does now."""
        return all(self._agrees(resource) for resource in self.puppets)

    def _agrees(self, resource: str) -> bool:
        if resource in self.off:
            return not self.kubelet.connected().get(resource)
        devices = self.kubelet.devices(resource)
        listed = {name for name, health in devices.items() if health == "Healthy"}, devices.keys()
        said = self.said[resource]
        healthy = {name for name, reason in said.items() if not reason}
        return (
            listed[0] == healthy
            and said.keys() <= listed[1]
            and listed[1] - said.keys() <= self.gone[resource]
            and bool(self.kubelet.connected().get(resource))
        )

    # --- what the faults are made of ------------------------------------------------------------------------------------

    def sections(self) -> Mapping[str, Mapping[str, Any]]:
        """The configuration as it should be now."""
        return {
            puppet.name: puppet.section(**SECTION, edition=self.edition, enabled=resource not in self.off)
            for resource, puppet in self.puppets.items()
        }

    def another_process(self) -> Process:
        """Start one more supervisor."""
        return self.stack.enter_context(Process(self.kubelet.paths, self.folder, self.sections(), Host()))

    def show(self, resource: str, devices: Mapping[str, str]) -> None:
        """Have a plugin see these devices, when it next looks and is well."""
        puppet = self.puppets[resource]
        puppet.show(devices, resource)
        self._hear(puppet, resource)

    def _hear(self, puppet: Puppet, resource: str) -> None:
        if not puppet.moods:
            now = dict(puppet.resources[resource])
            self.gone[resource] = (self.gone[resource] | self.said[resource].keys()) - now.keys()
            self.said[resource] = now

    def heal(self) -> None:
        """All plugins are well again, and served: what begins anew must be able to look."""
        for resource, puppet in self.puppets.items():
            if puppet.moods:
                puppet.behave()
                self._hear(puppet, resource)
        self.settle("healing")

    def bury(self) -> None:
        """The present supervisor is about to end: judge it now."""
        assert_sound(self.kubelet, self.ended)
        self.ended = endpoints(self.kubelet)

    def devices(self, resource: str) -> dict[str, str]:
        """What the hardware is, whether or not its plugin can see it."""
        return dict(self.puppets[resource].resources[resource])


Strike = Callable[[Chaos, random.Random, str], None]


def kubelet_restarts(node: Chaos, chance: random.Random, resource: str) -> None:
    node.kubelet.restart(pause=chance.choice([0.0, 0.0, 0.05]))


def kubelet_restarts_twice(node: Chaos, chance: random.Random, resource: str) -> None:
    node.kubelet.inject(Fault.DOUBLE_RESTART, seconds=chance.choice([0.0, 0.002, 0.01]))


def kubelet_is_killed(node: Chaos, chance: random.Random, resource: str) -> None:
    node.kubelet.kill()
    node.kubelet.start(listen_gap=chance.choice([0.0, 0.05]))


def kubelet_is_away(node: Chaos, chance: random.Random, resource: str) -> None:
    node.kubelet.stop()
    if chance.random() < 0.5:
        node.kubelet.paths.socket.unlink()
    devices_change(node, chance, resource)
    node.kubelet.start(cleanup_pause=chance.choice([0.0, 0.01]))


def kubelet_dies_during_registration(node: Chaos, chance: random.Random, resource: str) -> None:
    fault = chance.choice([Fault.DIE_BEFORE_DIAL, Fault.DIE_BEFORE_FIRST_LIST, Fault.DIE_AFTER_FIRST_LIST])
    before = len(node.kubelet.log(EventKind.SOCKET_ACCEPTING))
    node.kubelet.inject(fault, resource=resource, restart_after=chance.choice([0.0, 0.05]))
    node.kubelet.restart()
    if resource in node.off:
        node.kubelet.disarm()
        return
    node.kubelet.wait_for(lambda: len(node.kubelet.log(EventKind.SOCKET_ACCEPTING)) >= before + 2, 20, "the life after")


def kubelet_dials_slowly(node: Chaos, chance: random.Random, resource: str) -> None:
    node.kubelet.inject(Fault.SLOW_DIAL_BACK, resource=resource, seconds=chance.uniform(0.05, 0.5))
    node.kubelet.restart()
    if resource in node.off:
        node.kubelet.disarm()


def two_kubelets(node: Chaos, chance: random.Random, resource: str) -> None:
    node.kubelet.inject(Fault.TWO_KUBELETS, times=chance.choice([1, 2]), seconds=chance.uniform(0.01, 0.2))


def stream_is_reset(node: Chaos, chance: random.Random, resource: str) -> None:
    if resource not in node.off:
        node.kubelet.inject(Fault.RESET_CONNECTION, resource=resource)


def own_socket_is_removed(node: Chaos, chance: random.Random, resource: str) -> None:
    for path in node.kubelet.paths.device_plugins.glob("dps-*.sock"):
        path.unlink()


def directory_is_recreated(node: Chaos, chance: random.Random, resource: str) -> None:
    node.kubelet.inject(Fault.RECREATE_DIRECTORY)


def directory_is_replaced(node: Chaos, chance: random.Random, resource: str) -> None:
    node.kubelet.inject(Fault.REPLACE_DIRECTORY)


def files_storm(node: Chaos, chance: random.Random, resource: str) -> None:
    node.kubelet.inject(Fault.CREATE_STORM, count=chance.randrange(500))


def device_is_added(node: Chaos, chance: random.Random, resource: str) -> None:
    devices = node.devices(resource)
    node.show(resource, devices | {f"{resource[12]}{len(devices) + chance.randrange(5)}": ""})


def device_is_removed(node: Chaos, chance: random.Random, resource: str) -> None:
    devices = node.devices(resource)
    if devices:
        devices.pop(chance.choice(sorted(devices)))
    node.show(resource, devices)


def device_changes_its_health(node: Chaos, chance: random.Random, resource: str) -> None:
    devices = node.devices(resource)
    if devices:
        name = chance.choice(sorted(devices))
        devices[name] = "" if devices[name] else "worn out"
    node.show(resource, devices)


def devices_change(node: Chaos, chance: random.Random, resource: str) -> None:
    for _ in range(chance.randrange(1, 5)):
        chance.choice([device_is_added, device_is_removed, device_changes_its_health])(node, chance, resource)


def configuration_is_edited(node: Chaos, chance: random.Random, resource: str) -> None:
    node.heal()
    node.edition += 1
    node.process.configure(node.sections())


def configuration_is_broken(node: Chaos, chance: random.Random, resource: str) -> None:
    good = node.process.config.read_text()
    node.process.config.write_text(chance.choice(["", "{", "plugins: {puppet: {colour: red}}"]))
    devices_change(node, chance, resource)
    node.settle("a broken configuration")
    node.process.config.write_text(good)


def plugin_is_switched(node: Chaos, chance: random.Random, resource: str) -> None:
    node.heal()
    node.off ^= {resource}
    if resource in node.off:
        node.gone[resource].clear()
    node.process.configure(node.sections())


def plugin_misbehaves(node: Chaos, chance: random.Random, resource: str) -> None:
    puppet = node.puppets[resource]
    puppet.behave(discover=chance.choice(MOODS))
    devices_change(node, chance, resource)


def plugins_are_healed(node: Chaos, chance: random.Random, resource: str) -> None:
    node.heal()


def supervisor_is_killed(node: Chaos, chance: random.Random, resource: str) -> None:
    node.heal()
    node.bury()
    node.process.kill()
    node.process = node.another_process()


def supervisor_hands_over(node: Chaos, chance: random.Random, resource: str) -> None:
    node.heal()
    successor = node.another_process()
    successor.wait_ready("standing by")
    node.bury()
    before, node.process = node.process, successor
    chance.choice([before.kill, before.stop])()


def pod_comes_and_goes(node: Chaos, chance: random.Random, resource: str) -> None:
    if resource not in node.off and any(not reason for reason in node.said[resource].values()):
        node.pods += 1
        pod = node.kubelet.add_pod(f"pod-{node.pods}", {resource: 1})
        assert pod.admitted, pod.message
        node.kubelet.delete_pod(f"pod-{node.pods}")


FAULTS: Mapping[str, Strike] = {
    strike.__name__: strike
    for strike in (
        kubelet_restarts,
        kubelet_restarts_twice,
        kubelet_is_killed,
        kubelet_is_away,
        kubelet_dies_during_registration,
        kubelet_dials_slowly,
        two_kubelets,
        stream_is_reset,
        own_socket_is_removed,
        directory_is_recreated,
        directory_is_replaced,
        files_storm,
        device_is_added,
        device_is_removed,
        device_changes_its_health,
        devices_change,
        configuration_is_edited,
        configuration_is_broken,
        plugin_is_switched,
        plugin_misbehaves,
        plugins_are_healed,
        supervisor_is_killed,
        supervisor_hands_over,
        pod_comes_and_goes,
    )
}


def run(examples: int) -> Counter[str]:
    """Run so many examples, each with every kind of fault at least once; returns how often each ran."""
    Chaos.ran.clear()
    run_state_machine_as_test(
        Chaos,
        settings=settings(
            max_examples=examples,
            stateful_step_count=len(FAULTS) + 1,  # the beginning is a step, too
            deadline=None,
            database=None,
            phases=[Phase.generate],  # what fails by chance of time does not get simpler by trying again
            suppress_health_check=list(HealthCheck),
        ),
    )
    return Chaos.ran


def report(ran: Counter[str]) -> str:
    """One line for each kind."""
    return "\n".join(f"{ran[kind]:5} {kind.replace('_', ' ')}" for kind in FAULTS)


def main() -> None:
    """Run the campaign of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=20)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        install(Path(folder))
        sys.path[:0] = [folder, str(DISTRIBUTION)]
        with quietly():
            ran = run(args.examples)
        print(report(ran))


if __name__ == "__main__":
    main()

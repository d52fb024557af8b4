"""The plugins of one package together: they take over, remember and make way as one."""

from collections.abc import Callable
from typing import Self

import trio

from supervisor.generation import Generation
from supervisor.memory import Gate
from supervisor.plugins import Made
from tests.test_memory import Bytes
from tests.test_units import SOON, Heir, Life, Plugin


class Other(Heir):
    """Another plugin of the same package."""

    name = "q"


class Package:
    """A generation of running units, and what reaches its memory."""

    def __init__(self, *plugins: Plugin) -> None:
        self.kept = Bytes()
        self.gate = Gate(self.kept)
        self.lives = [Life(plugin, taken_over=self.gate.taken_over) for plugin in plugins]
        self.generation = Generation("package", self.gate, Made(plugins))
        self.generation.units = [life.unit for life in self.lives]

    async def __aenter__(self) -> Self:
        self._nursery = trio.open_nursery()
        nursery = await self._nursery.__aenter__()
        for life in self.lives:
            nursery.start_soon(life.unit.run)
            await life.looks.receive()
        return self

    async def __aexit__(self, *error: object) -> None:
        for life in self.lives:
            life.unit.retire()
        await self._nursery.__aexit__(None, None, None)


async def until(happened: Callable[[], object]) -> None:
    """Wait for what the units do by and by."""
    while not happened():  # noqa: ASYNC110  # nothing else tells of it
        await trio.sleep(0.005)


async def test_what_is_kept_waits_for_every_plugin() -> None:
    """One that has yet to recall must not find what another one has just kept."""
    first, second = Heir(), Other(problems=1)
    with trio.fail_after(SOON):
        async with Package(first, Plugin(), second) as package:
            package.gate.keep(b"1")
            package.generation.own()
            await until(lambda: "take_over" in first.asked and second.problems == 0)
            assert package.kept.kept == []
            await until(lambda: package.kept.kept == [b"1"])
    assert (first.asked.count("take_over"), second.asked.count("take_over")) == (1, 2)


async def test_a_node_that_is_lost_stops_the_memory() -> None:
    """And a plugin that has not taken over yet is asked no more."""
    plugin = Heir()
    with trio.fail_after(SOON):
        async with Package(plugin) as package:
            package.generation.own()
            package.generation.disown()
            package.gate.keep(b"1")
            await package.lives[0].looks.receive()
            assert "take_over" not in plugin.asked
            package.generation.own()
            await until(lambda: package.kept.kept == [b"1"])


async def test_those_who_write_make_way_and_the_others_look_on() -> None:
    """Until the new ones are there, devices that nobody writes for are still looked after."""
    plain, heir = Plugin(), Heir()
    with trio.fail_after(SOON):
        async with Package(plain, heir) as package:
            await package.generation.make_way()
            looks = len(heir.asked)
            for _ in range(2):
                for life in package.lives:
                    life.unit.discovery.look_again()
                await package.lives[0].looks.receive()
            assert len(heir.asked) == looks


async def test_a_closed_generation_says_nothing_more() -> None:
    """Whatever its plugins still keep."""
    async with Package(Heir()) as package:
        package.generation.close()
        package.generation.own()
        package.gate.taken_over("p")
        package.gate.keep(b"1")
        assert package.kept.kept == []

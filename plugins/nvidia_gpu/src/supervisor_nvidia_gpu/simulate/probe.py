"""The probe that plays a script instead of asking NVML."""

import time
from collections.abc import AsyncGenerator, Callable, Sequence

from supervisor_nvidia_gpu.report import GpuEvent, Report
from supervisor_nvidia_gpu.simulate.layouts import layout
from supervisor_nvidia_gpu.simulate.script import apply, event, parse


def mistake(name: str, script: Sequence[str]) -> str:
    """What is wrong with a simulation, in one sentence; empty for one that can be played."""
    try:
        parse(script, layout(name))
    except ValueError as error:
        return str(error)
    return ""


class SimulatedProbe:
    """Looks and events of a simulation, which begins when it is made; used as the probe that asks NVML is.

    Look in one thread and wait for events in one other.
    """

    where = "simulated"
    restarts = 0

    def __init__(self, name: str, script: Sequence[str] = (), clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` counts seconds, as the clock of the trio loop in which ``events`` runs. Raises ``ValueError``."""
        self._beginning = layout(name)
        self._steps = parse(script, self._beginning)
        self._clock = clock
        self._begun = clock()
        self._report = self._beginning
        self._applied = 0
        self._told = 0

    def look(self) -> Report:
        """The GPUs as they are now, all that was told included; the same object as long as nothing happens."""
        elapsed, told = self._clock() - self._begun, self._told
        for step in self._steps[self._applied :]:
            if step.after > elapsed and self._applied >= told:
                break
            self._report = apply(step, self._report, self._beginning)
            self._applied += 1
        return self._report

    async def events(self) -> AsyncGenerator[GpuEvent, None]:
        """Each step when it is due, once in the life of the probe; then nothing for ever."""
        import trio  # here, since the configuration is checked in processes that run no loop

        while self._told < len(self._steps):
            step = self._steps[self._told]
            due = self._begun + step.after
            await trio.sleep(max(0.0, due - self._clock()))
            self._told += 1
            yield event(step, self._beginning, due)
        await trio.sleep_forever()

    def close(self) -> None:
        """Nothing runs that would have to end."""

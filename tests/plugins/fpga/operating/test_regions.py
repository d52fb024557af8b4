"""Locks of regions: among threads, among processes, and what they remember."""

import os
import random
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from supervisor_fpga.operating.outcome import Clock, Stopped
from supervisor_fpga.operating.regions import Regions
from tests.plugins.fpga.operating.yard import PATIENCE, Gate

HOLDER = textwrap.dedent("""
    import sys, time
    from supervisor_fpga.operating.outcome import Clock
    from supervisor_fpga.operating.regions import Regions
    with Regions(sys.argv[1]).held("card/region0", Clock(time.monotonic() + 20)) as claim:
        claim.begin()
        print("held", flush=True)
        sys.stdin.read()
""")


TOOL = textwrap.dedent("""
    import sys, time
    from supervisor_fpga.operating.kernel import Linux
    from supervisor_fpga.operating.outcome import Clock
    from supervisor_fpga.operating.regions import Regions
    clock = Clock(time.monotonic() + 20)
    with Regions(sys.argv[1]).held("card/region0", clock) as claim:
        Linux().run(["/bin/sh", "-c", f"exec > {sys.argv[2]}; echo begun; read line < {sys.argv[3]}"], clock, claim.lock)
""")


def clock(seconds: float = PATIENCE) -> Clock:
    return Clock(time.monotonic() + seconds)


def test_fifty_on_eight_are_never_two_at_once(tmp_path: Path) -> None:
    """Each gets its turn, none is lost; two objects stand for two processes with one directory."""
    both = (Regions(str(tmp_path)), Regions(str(tmp_path)))
    inside = [0] * 8
    most = [0] * 8
    done = []

    def work(number: int) -> None:
        at = number % 8
        with both[number // 8 % 2].held(f"card/region{at}", clock()):
            inside[at] += 1
            most[at] = max(most[at], inside[at])
            time.sleep(random.random() / 1000)
            inside[at] -= 1
            done.append(number)

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(work, range(50)))
    assert sorted(done) == list(range(50))
    assert most == [1] * 8


def test_they_come_in_their_order(tmp_path: Path) -> None:
    """Who has waited longest is next."""
    regions, order = Regions(str(tmp_path)), list[int]()
    gate = Gate()

    def work(number: int) -> None:
        with regions.held("region", clock()):
            if number == 0:
                gate()
            order.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
    for number, thread in enumerate(threads):
        thread.start()
        deadline = time.monotonic() + PATIENCE
        while len(regions._queues.get("region", ())) <= number and time.monotonic() < deadline:
            time.sleep(0.001)
    gate.open()
    for thread in threads:
        thread.join()
    assert order == list(range(5))


def test_another_process_excludes_us(tmp_path: Path) -> None:
    """Until it ends, however it ends; what it had begun is known."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    regions = Regions(str(tmp_path))
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(Stopped) as stopped, regions.held("card/region0", clock(0.1)):
            pass
        assert stopped.value.outcome == "late"
        with regions.held("card/region1", clock()) as other:
            assert not other.half_done
    finally:
        process.kill()
        process.communicate()
    with regions.held("card/region0", clock()) as claim:
        assert claim.half_done
        claim.succeed()
    with regions.held("card/region0", clock()) as claim:
        assert not claim.half_done


def test_names_that_look_alike_are_two(tmp_path: Path) -> None:
    """Whatever a region is called, it has a file of its own below the directory."""
    regions = Regions(str(tmp_path))
    with (
        regions.held(
            "a/b",
            clock(),
        ) as one,
        regions.held("a_b", clock()) as other,
        regions.held("../" * 99, clock()),
    ):
        one.begin()
        assert not other.half_done
    assert len(list(tmp_path.iterdir())) == 3
    assert all(each.name.endswith(".lock") for each in tmp_path.iterdir())


def test_who_waits_too_long_leaves_the_queue(tmp_path: Path) -> None:
    """The next one does not wait for it."""
    regions = Regions(str(tmp_path))
    with regions.held("region", clock()):
        with pytest.raises(Stopped) as stopped, regions.held("region", clock(0.05)):
            pass
        assert stopped.value.outcome == "late"
    with regions.held("region", clock()):
        pass


def test_a_holder_past_its_time_is_busy_at_once(tmp_path: Path) -> None:
    """It hangs in a driver: waiting for it would only make others late, too."""
    regions = Regions(str(tmp_path))
    with regions.held("region", clock(0.05)) as _:
        begun = time.monotonic()
        with pytest.raises(Stopped) as stopped, regions.held("region", clock()):
            pass
        assert stopped.value.outcome == "busy"
        assert time.monotonic() - begun < PATIENCE / 2


def test_a_tool_keeps_its_region_when_its_process_is_killed(tmp_path: Path) -> None:
    """It goes on with the hardware, so nobody else may before it has ended."""
    told, gate = tmp_path / "told", tmp_path / "gate"
    for pipe in (told, gate):
        os.mkfifo(pipe)
    with subprocess.Popen([sys.executable, "-c", TOOL, str(tmp_path / "locks"), str(told), str(gate)]) as process:
        try:
            with told.open() as said:
                assert said.readline() == "begun\n"
        finally:
            process.kill()
    regions = Regions(str(tmp_path / "locks"))
    try:
        with pytest.raises(Stopped) as stopped, regions.held("card/region0", clock(0.2)):
            pass
        assert stopped.value.outcome == "late"
    finally:
        gate.write_text("go on\n")
    with regions.held("card/region0", clock()) as claim:
        assert not claim.half_done

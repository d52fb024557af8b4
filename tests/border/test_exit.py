"""Border: a process that has one can end."""

import subprocess
import sys
from pathlib import Path

from tests.border.conftest import dead, until

ENDING = """
import gc
import threading
import time
from sample_program_module import Greet, Options
from supervisor import Border, Host

def hold(lock, held):
    with lock:
        held.set()
        threading.Event().wait()

def leave_a_border():
    border = Border("sample", Host(helper_socket="/nowhere"), Options())
    assert border.ask(Greet("you"), str, time.monotonic() + 60)
    print(border.pid, flush=True)
    held = threading.Event()
    threading.Thread(target=hold, args=(border._lives.latest._lock, held), daemon=True).start()
    held.wait()
    cycle = [border]
    cycle.append(cycle)

gc.disable()  # the interpreter collects once more when it ends
leave_a_border()
"""


def test_a_lock_that_a_frozen_thread_holds_keeps_no_process_from_ending(installed: Path) -> None:
    """The interpreter freezes its daemon threads at the end, wherever they are, and only then lets go of the last objects."""
    assert installed.is_dir()
    done = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    until(lambda: dead(int(done.stdout)))

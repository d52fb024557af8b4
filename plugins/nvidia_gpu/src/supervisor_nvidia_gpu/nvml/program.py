"""The process that talks to NVML: ``python -P -m supervisor_nvidia_gpu.nvml.program``, a child of the supervisor or of the helper.

A call into the driver may hang or crash; then this process is killed, and the next one starts afresh.
"""

import time

from supervisor import Outlet, Program, serve_program
from supervisor_nvidia_gpu.nvml.errors import Unusable
from supervisor_nvidia_gpu.nvml.events import SLICE, Listener
from supervisor_nvidia_gpu.nvml.messages import Look, Options, Seen, Watch
from supervisor_nvidia_gpu.nvml.session import Session
from supervisor_nvidia_gpu.report import GpuEvent


def make(options: Options) -> Program:
    """Begin to open NVML, and say what can be asked."""
    session = Session(options)
    return Program({Look: lambda request: look(session, request)}, {Watch: lambda _, outlet: watch(session, outlet)})


def look(session: Session, request: Look) -> Seen:
    """A report, or why there is none."""
    if not session.wait(request.patience):
        session.missed = True
        return Seen(starting=session.starting_for)
    try:
        return Seen(session.read(usage=request.usage))
    except Unusable as error:
        return Seen(why=str(error), gone=session.gone)


def watch(session: Session, outlet: Outlet) -> None:
    """Send events as they come, until nobody listens, or NVML is of no use any more; then the last one is ``lost``.

    Where NVML cannot be opened at all, nothing is lost: there are no events, and a look has the reason.
    """
    while not session.wait(SLICE):
        outlet.beat()
    if not session.is_open:
        return
    listener = Listener()
    try:
        if session.missed:
            session.missed = False
            outlet.send((GpuEvent("changed", at=time.monotonic()),))
        while not outlet.closed:
            if events := listener.next():
                outlet.send(events)
            outlet.beat()
    except Unusable as error:
        outlet.send((GpuEvent("lost", at=time.monotonic(), detail=str(error)),))
    finally:
        listener.close()


if __name__ == "__main__":
    serve_program(make, Options)

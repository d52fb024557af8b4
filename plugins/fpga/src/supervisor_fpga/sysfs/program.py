"""The process that reads the host's sysfs: ``python -P -m supervisor_fpga.sysfs.program``, always a child of the supervisor.

It opens no device and wants no privilege, so it never runs in the helper. A read may hang in the kernel; then a thread is left behind,
and where the whole process hangs, it is killed and replaced.
"""

import gc
import threading

from supervisor import Program, serve_program
from supervisor_fpga.sysfs.messages import Look, Options, Seen, Watch
from supervisor_fpga.sysfs.survey import Survey
from supervisor_fpga.sysfs.watching import watch

STACK = 256 << 10
"""Bytes for each thread: many may hang, and the process may have little memory."""


def make(options: Options) -> Program:
    """Read nothing yet, and say what can be asked."""
    threading.stack_size(STACK)
    gc.freeze()  # what is imported stays; to go through it at each collection costs more than a poll
    survey = Survey(options)
    return Program({Look: lambda _: look(survey)}, {Watch: lambda request, outlet: watch(survey, request, outlet)})


def look(survey: Survey) -> Seen:
    """A look. Raises ``OSError`` where there is no sysfs."""
    taken = survey.look()
    return Seen(taken.report, taken.number)


if __name__ == "__main__":
    serve_program(make, Options)

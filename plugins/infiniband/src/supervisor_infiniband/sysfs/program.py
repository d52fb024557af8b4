"""The process that reads the host's sysfs: ``python -P -m supervisor_infiniband.sysfs.program``, always a child of the supervisor.

It opens no device and wants no privilege, so it never runs in the helper. A read may hang in the kernel; then a thread is left behind,
and where the whole process hangs, it is killed and replaced.
"""

import gc
import threading

from supervisor import Program, serve_program
from supervisor_infiniband.sysfs.messages import Compare, Compared, Look, Options, Seen, Watch
from supervisor_infiniband.sysfs.survey import Survey
from supervisor_infiniband.sysfs.watching import watch

STACK = 256 << 10
"""Bytes for each thread: many may hang, and the process may have little memory."""


def make(options: Options) -> Program:
    """Read nothing yet, and say what can be asked."""
    threading.stack_size(STACK)
    gc.freeze()  # what is imported stays; to go through it at each collection costs more than a poll
    survey = Survey(options)
    return Program(
        {Look: lambda _: look(survey), Compare: lambda request: compare(survey, request)},
        {Watch: lambda request, outlet: watch(survey, request, outlet)},
    )


def look(survey: Survey) -> Seen:
    """A look. Raises ``OSError`` where there is no sysfs."""
    taken = survey.look()
    return Seen(taken.report, taken.number)


def compare(survey: Survey, request: Compare) -> Compared:
    """What only names and inodes tell."""
    return Compared(survey.stands(request.number))


if __name__ == "__main__":
    serve_program(make, Options)

"""Processors that stay awake between requests.

A processor with nothing to do sleeps, and takes its time to wake: some microseconds on bare metal, on virtual
machines about a hundred. A request passes through a dozen threads, each of which has to be woken.

Linux has a request for that (Documentation/power/pm_qos_interface.rst), but it only reaches processors
whose sleep Linux itself chooses: inside a virtual machine the host does. What works on both is work: an
endless loop for each processor, of the policy SCHED_IDLE (sched(7)), which anything else displaces at once.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from builder.errors import ServeError

_PARENT_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of prctl(2): nobody is left to loop when the one who asked is killed."""

_LOOP = f"""
import ctypes, os, signal, sys
os.sched_setaffinity(0, {{int(sys.argv[1])}})
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
signal.signal(signal.SIGINT, signal.SIG_IGN)
ctypes.CDLL(None).prctl({_PARENT_DEATH_SIGNAL}, signal.SIGKILL)
if os.getppid() != int(sys.argv[2]):
    sys.exit()
while True:
    pass
"""


@contextmanager
def awake() -> Iterator[list[int]]:
    """Keep the processors that this process may use awake until the block ends, however it ends.

    Yields:
        The pids of the loops, one for each processor.

    Raises:
        ServeError: this system has no such policy.
    """
    if not hasattr(os, "SCHED_IDLE"):
        raise ServeError(
            "the processors cannot be kept awake: this system has no SCHED_IDLE",
            expected="Linux",
            remedy="serve without --low-latency",
        )
    loops: list[subprocess.Popen[bytes]] = []
    try:
        for processor in sorted(os.sched_getaffinity(0)):
            command = [sys.executable, "-I", "-S", "-c", _LOOP, str(processor), str(os.getpid())]
            loops.append(subprocess.Popen(command, stdin=subprocess.DEVNULL))
        yield [loop.pid for loop in loops]
    finally:
        for loop in loops:
            loop.kill()
        for loop in loops:
            loop.wait()

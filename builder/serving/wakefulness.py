"""Processors that stay awake between requests.

A processor with nothing to do sleeps, and takes its time to wake: some microseconds on bare metal, on virtual
machines about a hundred. A request passes through a dozen threads, each of which has to be woken.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from builder.errors import ServeError

DEVICE = Path("/dev/cpu_dma_latency")
"""Who writes microseconds there, an int32, forbids all sleep that takes longer to wake from, until he closes
it (Documentation/power/pm_qos_interface.rst of Linux)."""


@contextmanager
def awake(device: Path = DEVICE) -> Iterator[None]:
    """Keep all processors of this machine awake until the block ends, however it ends.

    Raises:
        ServeError: Linux offers no such device here, or this user may not write to it.
    """
    try:
        held = device.open("wb", buffering=0)
    except OSError as error:
        raise ServeError(
            f"the processors cannot be kept awake: {device}: {error.strerror}",
            expected="Linux's device for that, which only root may write to as it is",
            remedy=f"run as root, let root `chmod o+w {device}`, give a container `--device {device}`, or "
            "serve without --low-latency",
        ) from error
    with held:
        held.write(struct.pack("=i", 0))
        yield

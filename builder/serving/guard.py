"""A server ends with its owner, also where that is killed and has no last word."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

# It reads until every writing end of its input is closed, which the kernel sees to when the owner ends.
_WATCH = 'read -r _; kill -s KILL -- "-$1"; shift; rm -rf -- "$@"; rm -f -- "$0"*'


class Guard:
    """A shell that waits for this process to end, then ends a process group and removes what it leaves.

    PR_SET_PDEATHSIG would end the server with the thread that started it, and its stubs not at all.
    """

    def __init__(self, group: int, regions: Path, *folders: Path) -> None:
        """Watch over a process group; `regions` is how the paths of its shared memory begin."""
        heard, self._held = os.pipe()
        try:
            self._shell = subprocess.Popen(
                ["/bin/sh", "-c", _WATCH, str(regions), str(group), *map(str, folders)],
                stdin=heard,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # Ctrl-C at the terminal is for the owner
                start_new_session=True,
            )
        finally:
            os.close(heard)

    def dismiss(self) -> None:
        """Watch no longer; to be called before the group's number may be another's."""
        self._shell.kill()
        self._shell.wait()
        os.close(self._held)

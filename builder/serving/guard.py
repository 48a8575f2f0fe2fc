"""A server ends with its owner, also where that is killed and has no last word."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

# It reads until every writing end of its input is closed, which the kernel sees to when the owner ends.
_WATCH = 'read -r _; kill -s KILL -- "-$1"'
_CLEAN = '; shift; rm -rf -- "$@"; rm -f -- "$0"*'


class Guard:
    """A shell that waits for this process to end, then ends a process group and removes what it leaves.

    PR_SET_PDEATHSIG would end the server with the thread that started it, and its stubs not at all.
    """

    def __init__(self, group: int, regions: Path | None = None, *folders: Path) -> None:
        """Watch over a process group; `regions` is how the paths of its shared memory begin, if it has."""
        heard, self._held = os.pipe()
        watch = [_WATCH, "sh"] if regions is None else [_WATCH + _CLEAN, str(regions)]
        try:
            self._shell = subprocess.Popen(
                ["/bin/sh", "-c", *watch, str(group), *map(str, folders)],
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

"""Another process of the interpreter that runs here, with the same code to import."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path


def start(module: str, *words: str, connection: socket.socket) -> subprocess.Popen[bytes]:
    """Run `python -m module words... N`, where N is the number of its end of a connection."""
    number = connection.fileno()
    return subprocess.Popen(
        # -P: whatever lies in the working directory is not what this process imports
        [_python(), "-P", "-m", module, *words, str(number)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(_search_path())},
        pass_fds=(number,),
        # Ctrl-C is for the server, which ends its engines in order
        start_new_session=True,
    )


def _python() -> str:
    """Return the interpreter; where it is embedded `sys.executable` may be empty, or name another program."""
    own = Path(sys.executable or "").name
    return sys.executable if own.startswith("python") else shutil.which("python3") or "python3"


def _search_path() -> list[str]:
    """Return where this process imports from, so that the other finds the same: a version folder is first."""
    return [entry for entry in sys.path if entry]

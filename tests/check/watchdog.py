"""A check in a process of its own, which a watchdog ends, and which tells what it read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60
_CHECK = """
import json, os, resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (1_500_000_000, 1_500_000_000))
read = set()
def heard(event, arguments):
    if event in ("open", "os.listdir", "os.scandir") and isinstance(arguments[0], str):
        read.add(os.path.realpath(arguments[0]))
from builder.check import check
sys.addaudithook(heard)
found = check(*map(Path, sys.argv[1:]))
print(json.dumps([[one.to_json() for one in found], sorted(read)]))
"""


class Watched(NamedTuple):
    """The findings as JSON, and the real paths of all that was opened or listed."""

    findings: list[dict[str, str]]
    read: list[str]

    @property
    def codes(self) -> list[str]:
        return [one["code"] for one in self.findings]


def check(*repositories: Path) -> Watched:
    """Check folders; a traceback, more than 1.5 GB or a minute fail the test."""
    command = [sys.executable, "-c", _CHECK, *map(str, repositories)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    return Watched(*json.loads(done.stdout))

"""What verify says about a mutant, found out in a process of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

from mutants import Mutant

from builder.report import Report
from builder.serve import boot
from builder.verify import verify


def judge(mutant: Mutant, written: Path, repository: Path) -> Report:
    """Copy a deployment to `repository`, mutate it, serve it, and verify it against what was written."""
    shutil.copytree(written, repository)
    for patch in mutant.patches:
        patch.apply(repository)
    server = boot(repository)
    try:
        return verify(written, server.http, server.grpc, server.metrics, only=mutant.kills, check_seconds=30)
    finally:
        # a mutant may be waiting for requests that never end
        server.kill()

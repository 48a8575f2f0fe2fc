"""One run of a converter or of cp, from a cold page cache to bytes that the disk has."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WATCHED = Path(__file__).parent / "watched.py"
DROPS = 20


@dataclass(frozen=True)
class Run:
    """Wall time from start to the last byte on the disk; the peak of VmHWM, 0 where it was not watched."""

    seconds: float
    peak_mb: float = 0.0


def cp(source: Path, out: Path) -> Run:
    """Copy the weights with cp, and sync them."""
    weights = sorted(source.glob("*.safetensors"))
    _prepare(source, out)
    out.mkdir()
    started = time.perf_counter()
    subprocess.run(["cp", "--reflink=never", *map(str, weights), str(out)], check=True)
    sync(out)
    seconds = time.perf_counter() - started
    shutil.rmtree(out)
    return Run(seconds)


def module(python: str, name: str, source: Path, out: Path, arguments: Sequence[str] = ()) -> Run:
    """Run a module of Python that converts, and syncs what it wrote."""
    report = out.with_name("report.json")
    _prepare(source, out)
    command = [python, str(WATCHED), str(report), name, str(source), str(out), *arguments]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'benchmarks'}"}
    started = time.perf_counter()
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{name} ended with code {done.returncode}\n{done.stderr[-2000:]}")
    shutil.rmtree(out)
    return Run(seconds, json.loads(report.read_text())["peak_mb"])


def ours(source: Path, out: Path, tensor: int) -> Run:
    return module(sys.executable, "builder.exporting.tensorrt_llm", source, out, ["--tp", str(tensor)])


def sync(folder: Path) -> None:
    """See that the disk has every file of a folder."""
    for file in folder.iterdir():
        with file.open("rb") as stream:
            os.fsync(stream.fileno())


def _prepare(source: Path, out: Path) -> None:
    """Forget what memory holds of the source: who comes second must not read what the first one left."""
    shutil.rmtree(out, ignore_errors=True)
    os.sync()
    for file in source.glob("*.safetensors"):
        with file.open("rb") as stream:
            # the kernel keeps pages that somebody is just looking at
            for _ in range(DROPS):
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                if not _is_cached(stream.fileno()):
                    break
            else:
                raise SystemExit(f"the page cache does not let go of {file}: who else reads it?")


def _is_cached(file: int) -> bool:
    """Say whether memory holds any of a file, by the first page of every megabyte."""
    page = bytearray(1)
    for place in range(0, os.fstat(file).st_size, 1 << 20):
        try:
            os.preadv(file, [page], place, os.RWF_NOWAIT)
        except BlockingIOError:
            continue
        return True
    return False

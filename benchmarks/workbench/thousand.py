"""A repository of 1,000 models, and what `builder check` takes for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median

from workbench import examples, mutations
from workbench.deployment import ROOT

MODELS, ENSEMBLES = 800, 200
RUNS = 3
_MEASURED = """
import json, resource, sys, time
from pathlib import Path
started = time.perf_counter()
from builder.check import check
found = check(Path(sys.argv[1]))
seconds = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([seconds, peak, sum(one.severity != "warning" for one in found)]))
"""


def measure(folder: Path) -> dict[str, float]:
    """Return the seconds and MB of one check of 1,000 models, imports and all; medians of several runs."""
    write(folder)
    runs = []
    for _ in range(RUNS):
        command = [sys.executable, "-c", _MEASURED, str(folder)]
        seconds, peak, errors = json.loads(
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
        )
        if errors:
            raise SystemExit(f"the thousand models have {errors} errors")
        runs.append((seconds, peak))
    return {
        "seconds_1000_models": median(seconds for seconds, _ in runs),
        "peak_mb_1000_models": median(peak for _, peak in runs),
    }


def write(folder: Path) -> None:
    """Write models that use all that the seeds use, and ensembles of two of them."""
    for place in range(MODELS):
        part = folder / f"model_{place}"
        examples.write(mutations.SEEDS[place % 2], folder / "new")
        (folder / "new" / "m").rename(part)
    for place in range(2):
        (folder / f"model_{place}" / "config.pbtxt").write_text(examples.PART, encoding="utf-8")
    chain = mutations.SEEDS[2].replace('"first"', '"model_0"').replace('"second"', '"model_1"')
    for place in range(ENSEMBLES):
        examples.write(chain, folder / "new")
        (folder / "new" / "m").rename(folder / f"ensemble_{place}")
    (folder / "new").rmdir()

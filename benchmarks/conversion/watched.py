"""Run a module as `python -m` would, then write the peak of its memory: `watched.py REPORT MODULE ...`.

VmHWM of /proc counts pages of mapped files as well; getrusage's would begin with the parent's.
"""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    report, module = Path(sys.argv[1]), sys.argv[2]
    sys.argv = sys.argv[2:]
    # a module is looked for where python -m would
    sys.path[0] = ""
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    status = Path("/proc/self/status").read_text()
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    report.write_text(json.dumps({"peak_mb": int(peak[1]) / 1024 if peak else 0.0}))

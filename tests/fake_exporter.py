"""Stands for an exporter: REQUEST.json GRAPH; $FAKE_CONVERTER says how it ends."""

import json
import os
import shutil
import sys
from pathlib import Path

asked = json.loads(Path(sys.argv[1]).read_text())
with Path(os.environ["FAKE_RUNS"]).open("a") as runs:
    runs.write("convert\n")
print("exported 1/2", flush=True)
if os.environ["FAKE_CONVERTER"] == "fail":
    sys.exit("it does not export this")
shutil.copyfile(sys.argv[2], Path(asked["out"]) / "model.onnx")

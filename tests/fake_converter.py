"""Stands for a converter: CHECKPOINT OUT PRECISION; $FAKE_CONVERTER says how it ends."""

import os
import signal
import sys
import time
from pathlib import Path

source, out, precision = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
how = os.environ["FAKE_CONVERTER"]
with Path(os.environ["FAKE_RUNS"]).open("a") as runs:
    runs.write("convert\n")
out.mkdir(parents=True)
(out / "genai_config.json").write_text('{"model": {}}')
(out / "tokenizer.json").write_text("a second truth")
(out / "model.onnx").write_bytes(b"\x08\x07")
print("Reading decoder layer 0", flush=True)
if how == "fail":
    for line in range(40):
        print(f"line {line} of its complaint")
    sys.exit(3)
if how == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if how == "hang":
    (Path(os.environ["FAKE_RUNS"]).parent / "hanging").write_text(str(os.getpid()))
    time.sleep(600)
with (out / "model.onnx.data").open("wb") as data:
    for _ in range(int(os.environ["FAKE_BYTES"]) // 64):
        data.write(precision.encode().ljust(64))

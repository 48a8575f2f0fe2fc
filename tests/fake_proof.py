"""Stands for the interpreter that runs `-m builder.proving.golden|reference|held_out|parity REQUEST`."""

import json
import os
import sys
import time
from pathlib import Path

what, request = sys.argv[2].rsplit(".", 1)[1], json.loads(Path(sys.argv[3]).read_text())
how = os.environ["FAKE_PROOF"]
with Path(os.environ["FAKE_RUNS"]).open("a") as runs:
    runs.write(f"{what}\n")
print(f"{what} 1/2", flush=True)
time.sleep(0.1)
if how == f"{what} fails":
    sys.exit(f"the {what} did not run")
if how == "fills the disk":
    (Path(sys.argv[3]).parent / "large").write_bytes(bytes(8 << 20))
if what == "golden":
    out = Path(request["out"])
    (out / "logits").mkdir(parents=True)
    (out / "logits" / "one.npy").write_bytes(b"")
    prompt = {
        "id": "one", "text": "one two", "messages": None, "input_ids": [3, 4], "output_ids": [5, 6],
        "output_text": "three four", "finish_reason": "length", "max_tokens": 2, "gaps": [1.0, 2.0],
    }  # fmt: skip
    golden = {"format": 1, "model": request["name"], "epsilon": 0.05, "prompts": [prompt]}
    (out / "golden.json").write_text(json.dumps(golden))
elif what == "parity":
    print("compared 1/2", flush=True)
    out = Path(request["out"])
    far = 0.5 if how == "far" else 0.0
    row = {"id": "one", "cosine": 1.0 - far, "error": far, "drift": 0.0, "where": "3 together, with padding"}
    proof = {"rows": [row], "rank_correlation": None, "reference": "the source", "layouts": ["side by side"]}
    (out / "proof.json").write_text(json.dumps(proof))
    kept = {name: request[name] for name in ("pipeline", "tolerance", "batched", "max_batch_size")}
    golden = {"format": 1, "kind": "single_pass", "model": request["name"], "asks": [], "refuses": [], **kept}
    (out / "golden.json").write_text(json.dumps(golden))
else:
    far = 9.0 if how == "far" else 0.0
    rows = [{"id": "one", "tokens": 2, "agreed": 0 if far else 2, "ties": 0, "together": 0 if far else 2}]
    rows[0]["divergence"] = [far, far]
    if what == "reference":
        Path(request["out"]).write_text(json.dumps(rows))
    read = {
        "text": 1,
        "opening": "one two",
        "tokens": 2,
        "source_loss": 2.0,
        "loss": 2.0 + far,
        "divergence": [far, far],
        "agreed": 2,
    }
    Path(request["rows"]).write_text(json.dumps([read]))

"""How likely transformers finds prompts: `python -m llm.scoring TOLD`, a line of JSON out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.children import BENCHMARKS

PRECISIONS = ("bfloat16", "float32")


def of(artifact: Path, prompts: Sequence[Sequence[int]], precision: str, device: str) -> list[list[float]]:
    """Return log p of every id after the first, computed by transformers in a precision on a device."""
    told = {"model": str(artifact), "precision": precision, "device": device, "prompts": list(prompts)}
    done = subprocess.run(
        [sys.executable, "-m", "llm.scoring"],
        input=json.dumps(told),
        cwd=BENCHMARKS,
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"transformers in {precision} ended with code {done.returncode}")
    found: list[list[float]] = json.loads(done.stdout)
    return found


def main(told: dict[str, Any]) -> list[list[float]]:
    """Load the checkpoint and score the prompts, one at a time."""
    import torch
    from transformers import AutoModelForCausalLM

    # float32, not TF32
    torch.set_float32_matmul_precision("highest")
    dtype = getattr(torch, told["precision"])
    model = AutoModelForCausalLM.from_pretrained(told["model"], dtype=dtype).to(told["device"]).eval()
    found = []
    with torch.inference_mode():
        for ids in told["prompts"]:
            asked = torch.tensor([ids], device=told["device"])
            logits = model(asked).logits[0, :-1].float()
            chosen = logits.log_softmax(-1).gather(-1, asked[0, 1:, None])
            found.append(chosen[:, 0].tolist())
    return found


if __name__ == "__main__":
    mine = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    print(json.dumps(main(json.load(sys.stdin))), file=mine, flush=True)

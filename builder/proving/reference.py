"""Compare golden answers with the source in float32; run as `python -m builder.proving.reference`.

One forward pass over prompt and answer gives the source's choice after every golden token. Where
all of them agree, the source's own greedy answer is the golden one, by induction over the tokens.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from builder.proving import held_out, prompts, source_model

Rows = npt.NDArray[np.float64]


def log_softmax(logits: Rows) -> Rows:
    """Return log probabilities along the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: Rows = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def divergence(source: Rows, artifact: Rows) -> npt.NDArray[np.float64]:
    """Return KL(source || artifact) in nats for each row of logits [tokens, vocabulary]."""
    left, right = log_softmax(source), log_softmax(artifact)
    result: npt.NDArray[np.float64] = (np.exp(left) * (left - right)).sum(axis=-1)
    return result


def compare(source: Rows, artifact: Rows, chosen: list[int], epsilon: float) -> dict[str, Any]:
    """Compare logits [tokens, vocabulary] of both after each golden token.

    `shortfall` is how far the golden token stands below the source's own choice, in logits: 0 where
    they agree, a tie up to `epsilon`. `together` counts the tokens before they part: up to
    there the source's own greedy answer is the golden one. `finite` says whether the source has an
    answer at all.
    """
    shortfall = source.max(axis=-1) - source[np.arange(len(chosen)), chosen]
    parted = np.flatnonzero(~(shortfall <= epsilon))
    return {
        "tokens": len(chosen),
        "finite": bool(np.isfinite(source).all()),
        "agreed": int((shortfall == 0).sum()),
        "ties": int(((shortfall > 0) & (shortfall <= epsilon)).sum()),
        "together": int(parted[0]) if len(parted) else len(chosen),
        "divergence": [float(value) for value in divergence(source, artifact)],
    }


def main(request: Path) -> None:
    """Read {source, golden, logits, out}, and what `held_out.read` wants; write one comparison per prompt."""
    asked = json.loads(request.read_text(encoding="utf-8"))
    import torch

    model = source_model.beside(Path(asked["model"]), Path(asked["source"]))
    golden = json.loads(Path(asked["golden"]).read_text(encoding="utf-8"))
    rows = []
    for prompt in golden["prompts"]:
        chosen = prompt["output_ids"]
        if not chosen:
            continue
        ids = torch.tensor([prompt["input_ids"] + chosen[:-1]], device=model.device)
        with torch.inference_mode():
            logits = model(ids).logits[0, len(prompt["input_ids"]) - 1 :]
        artifact = np.load(Path(asked["logits"]) / f"{prompt['id']}.npy").astype(np.float64)
        source = logits.cpu().double().numpy()[:, : artifact.shape[1]]
        rows.append({"id": prompt["id"], **compare(source, artifact, chosen, prompts.EPSILON)})
        print(f"compared {len(rows)}/{len(golden['prompts'])}", flush=True)  # noqa: T201
    Path(asked["out"]).write_text(json.dumps(rows), encoding="utf-8")
    # what follows needs the source too, which takes long to load
    held_out.read(model, asked, request.parent)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""What an artifact lost on texts it was not made with: `python -m builder.proving.held_out REQUEST.json`.

Source and artifact read the same tokens, and what each expects next is compared, token by token: as the
engine's own library runs it on one side, as transformers does in float32 on the other.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from builder.calibration import texts
from builder.proving import reader, source_model

OPENING = 10
"""Tokens by which a text is known again."""

SAMPLE = 3
"""Texts whose tokens are kept, so that the endpoint can be asked for the same."""


def compare(source: Any, artifact: Any, following: Any) -> dict[str, Any]:
    """Compare what two models expect behind each token of one text.

    Args:
        source: logits, torch.float32 [tokens, vocabulary].
        artifact: logits of the same shape.
        following: the tokens that came, torch.int64 [tokens].

    Returns:
        `tokens`; `source_loss` and `loss`, the sums of -log p of the tokens that came, in nats; `divergence`,
        KL(source || artifact) at each token in nats; `agreed`, how often both think the same token likeliest;
        `finite`, whether the source's numbers all are.
    """
    import torch

    expected, left, right = source.softmax(dim=-1), source.log_softmax(dim=-1), artifact.log_softmax(dim=-1)
    came = following.unsqueeze(-1)
    source_loss, loss = (float(-side.gather(-1, came).double().sum()) for side in (left, right))
    finite = all(bool(end.isfinite()) for end in source.aminmax())
    nowhere = None if finite else left.isneginf()
    further = left.sub_(right)
    if nowhere is not None:
        # where the source expects nothing at all the artifact may expect what it likes
        further.masked_fill_(nowhere, 0.0)
    return {
        "tokens": len(following),
        "finite": finite,
        "source_loss": source_loss,
        "loss": loss,
        "divergence": torch.einsum("ij,ij->i", expected, further).tolist(),
        "agreed": int((source.argmax(dim=-1) == artifact.argmax(dim=-1)).sum()),
    }


def read(source: Any, asked: Mapping[str, Any], folder: Path) -> None:
    """Have source and artifact read the texts, and write a row for each.

    Args:
        source: a model of transformers.
        asked: `model`, a folder, its `witness` with its `arguments`, and its `tokenizer`; `texts`, a file,
            the `option` that names it, and the `longest` to read of each; `rows`, the file to write.
        folder: for what passes between.
    """
    import torch
    from transformers import AutoTokenizer

    data = texts.read(Path(asked["texts"]), asked["option"])
    tokenizer = AutoTokenizer.from_pretrained(asked["tokenizer"])
    sequences = texts.sequences(data, tokenizer, asked["longest"])
    wanted = {name: asked[name] for name in ("model", "witness", "arguments")} | {"sequences": sequences}
    rows = []
    with reader.reading(folder / "reading.json", wanted) as answers:
        for number, (ids, logits) in enumerate(zip(sequences, answers, strict=True), 1):
            artifact = torch.from_numpy(logits).to(source.device)
            sequence = torch.tensor([ids], device=source.device)
            with torch.inference_mode():
                expected = source(sequence).logits[0, :-1, : artifact.shape[1]].float()
                found = compare(expected, artifact, sequence[0, 1:])
            rows.append({"text": number, "opening": tokenizer.decode(ids[:OPENING]), **found})
            if number <= SAMPLE:
                rows[-1]["ids"] = ids
            print(f"read {number}/{len(sequences)}", flush=True)  # noqa: T201
    Path(asked["rows"]).write_text(json.dumps(rows), encoding="utf-8")


def main(request: Path) -> None:
    """Read {source, ...}, the rest as `read` wants it."""
    asked = json.loads(request.read_text(encoding="utf-8"))
    read(source_model.beside(Path(asked["model"]), Path(asked["source"])), asked, request.parent)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

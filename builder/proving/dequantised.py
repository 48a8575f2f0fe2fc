"""What an artifact's weights stand for, run by transformers: `python -m builder.proving.dequantised FILE`.

The other way to its perplexity: neither its engine nor its kernels have a part in it, so that the two agree
only where both read the same weights in the same way.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from builder import files, kept, source, weight_format
from builder.calibration import texts


def load(folder: Path, model: Path) -> Any:
    """Return transformers' model of the `folder`'s config with the weights of the artifact in `model`.

    Embedding and head are two matrices, as an artifact may keep them apart. Raises ValueError where its
    tensors are not those of the model.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    told = source.read_json(folder / "config.json")
    config = AutoConfig.from_pretrained(folder)
    config.tie_word_embeddings = False
    for key in weight_format.KEYS:
        if hasattr(config, key):
            delattr(config, key)
    found = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    _fill(found, kept.format_of(model).weights(model, told))
    return found.eval()


def _fill(model: Any, weights: Iterator[tuple[str, Any]]) -> None:
    import torch

    places = dict(model.named_parameters())
    absent = set(places)
    with torch.no_grad():
        for name, values in weights:
            if name not in absent or places[name].shape != values.shape:
                raise ValueError(f"the artifact has {name} {values.shape}, which the model has not, or twice")
            places[name].copy_(torch.from_numpy(values.copy()))
            absent.discard(name)
    if absent:
        raise ValueError(f"the artifact has no {', '.join(sorted(absent)[:3])}")


def main(request: Path) -> None:
    """Read {source, model, tokenizer, texts, option, lengths, out}; write the loss of the first texts.

    `lengths` says how many tokens of each are read.

    A row holds `text`, its number, `tokens`, and `loss`, the sum of -log p of the tokens that came, in nats.
    """
    import torch
    from transformers import AutoTokenizer

    asked = json.loads(request.read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(asked["tokenizer"])
    data = texts.read(Path(asked["texts"]), asked["option"])
    sequences = texts.sequences(data, tokenizer, max(asked["lengths"]))
    model = load(Path(asked["source"]), Path(asked["model"]))
    rows = []
    for number, (whole, length) in enumerate(zip(sequences, asked["lengths"], strict=False), 1):
        ids = whole[:length]
        with torch.inference_mode():
            logits = model(torch.tensor([ids])).logits[0, :-1].float()
        came = torch.tensor(ids[1:]).unsqueeze(-1)
        loss = -torch.log_softmax(logits, dim=-1).gather(-1, came).double().sum()
        rows.append({"text": number, "tokens": len(ids) - 1, "loss": float(loss)})
        print(f"read {number}/{len(asked['lengths'])}", flush=True)  # noqa: T201
    files.write_json(Path(asked["out"]), rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

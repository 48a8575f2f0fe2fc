"""How much each part of a model loses when it alone is rounded; `python -m builder.proving.sensitivity FILE`.

The source reads some texts, once as it is and once for each part with that part's matrices rounded to the
smallest type; by what the next-token distributions then differ is the part's loss. That of the other types
follows from how far they are off, squared: the divergence has its minimum, 0, where nothing changed, and
grows with the square of a small change (second-order Taylor expansion, as HAWQ-V2 does, arXiv:1911.03852).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from builder import architecture
from builder.architecture import Decoder, tensor_names
from builder.calibration import texts
from builder.gguf import materialise
from builder.gguf.header import read_header
from builder.gguf.parts import parts_of
from builder.proving import source_model

TOKENS = 1024
"""That are read for each part: their distributions are kept, four bytes for each of the vocabulary."""


def measure(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return {"tokens", "losses": part -> type -> nats}.

    Args:
        asked: `source`, a Hugging Face folder; its `tokenizer`; `texts`, a file; `files`, type -> a GGUF with
            every matrix in it, the smallest type first.
    """
    import torch
    from transformers import AutoTokenizer

    folder = Path(asked["source"])
    model = source_model.load(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    family = cast(Decoder, architecture.load(config["model_type"]))
    data = texts.read(Path(asked["texts"]), "--calibration")
    ids = _first(texts.sequences(data, AutoTokenizer.from_pretrained(asked["tokenizer"])), TOKENS)
    rounded = {kind: _Rounded(Path(path), family, config) for kind, path in asked["files"].items()}
    smallest = next(iter(rounded))
    weights = dict(model.named_parameters())
    names = {
        (role, layer): name
        for role, layer, name in tensor_names(family.HUGGING_FACE, family.dimensions(config))
    }
    with torch.inference_mode():
        expected = _distributions(model, ids)
        losses: dict[str, dict[str, float]] = {}
        parts = parts_of(family.dimensions(config))
        for number, (part, places) in enumerate(parts.items(), 1):
            theirs = [names[place] for place in places]
            errors = {
                kind: sum(_squared(weights[name], file.read(name)) for name in theirs)
                for kind, file in rounded.items()
            }
            with _replaced(weights, {name: rounded[smallest].read(name) for name in theirs}):
                loss = _divergence(expected, _distributions(model, ids))
            losses[part] = _scaled(loss, errors, smallest)
            print(f"measured {number}/{len(parts)}", flush=True)  # noqa: T201
    return {"tokens": sum(len(one) - 1 for one in ids), "losses": losses}


def _scaled(loss: float, errors: Mapping[str, float], smallest: str) -> dict[str, float]:
    """Return type -> loss from the smallest type's, which is none where that changes nothing."""
    whole = errors[smallest]
    return {kind: loss * error / whole if whole else 0.0 for kind, error in errors.items()}


def _first(sequences: Sequence[list[int]], tokens: int) -> list[list[int]]:
    """Return sequences, in their order, up to so many tokens in all."""
    found: list[list[int]] = []
    for ids in sequences:
        room = tokens - sum(map(len, found))
        if room < 2:
            break
        found.append(ids[:room])
    return [ids for ids in found if len(ids) > 1]


def _distributions(model: Any, sequences: Sequence[list[int]]) -> Any:
    """Return log probabilities [tokens, vocabulary] of what follows each token."""
    import torch

    rows = [model(torch.tensor([ids])).logits[0, :-1].float() for ids in sequences]
    return torch.log_softmax(torch.cat(rows), dim=-1)


def _divergence(expected: Any, found: Any) -> float:
    """Return the mean of KL(expected || found) in nats."""
    return float((expected.exp() * (expected - found)).sum(dim=-1).mean())


def _squared(one: Any, other: Any) -> float:
    return float(((one - other).double() ** 2).sum())


@contextmanager
def _replaced(weights: Mapping[str, Any], others: Mapping[str, Any]) -> Iterator[None]:
    kept = {name: weights[name].data for name in others}
    try:
        for name, tensor in others.items():
            weights[name].data = tensor
        yield
    finally:
        for name, tensor in kept.items():
            weights[name].data = tensor


class _Rounded:
    """The matrices of a GGUF as what they stand for, by Hugging Face's names."""

    def __init__(self, path: Path, family: Decoder, config: Mapping[str, Any]) -> None:
        self._header = read_header(path)
        found = materialise.moves(self._header.tensors, family, family.dimensions(config))
        self._moves = {move.target: move for move in found}

    def read(self, name: str) -> Any:
        """Return a matrix in float32."""
        import numpy as np
        import torch

        move = self._moves[name]
        return torch.from_numpy(np.concatenate(list(materialise.values(self._header, move)))).view(move.shape)


def main(request: Path) -> None:
    """Read what `measure` is asked, and `out`."""
    asked = json.loads(request.read_text(encoding="utf-8"))
    found = measure(asked)
    Path(asked["out"]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

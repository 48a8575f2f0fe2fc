"""A checkpoint's matrices rounded to every type there is to choose from, and how far each is off."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from builder import architecture
from builder.architecture import Decoder, tensor_names
from builder.gguf import materialise, mixes, rounding, writing
from builder.gguf.header import Header, read_header
from builder.gguf.materialise import Move
from builder.gguf.parts import Place

Tell = Callable[[str, int, int], None]

KEPT = 2
"""Types whose numbers are at hand, not only how far they are off."""


class Rounded:
    """Every matrix in every type, of which only the first two are kept."""

    def __init__(
        self,
        source: Path,
        scratch: Path,
        kinds: Sequence[str],
        matrices: Mapping[Place, tuple[Any, Any]],
        tell: Tell,
    ) -> None:
        """Round `matrices` (float32 [out, in], with the mean square of each input) to `kinds`.

        `source` is their Hugging Face folder, `scratch` an empty one for what is rounded.
        """
        config = json.loads((source / "config.json").read_text(encoding="utf-8"))
        family = cast(Decoder, architecture.load(config["model_type"]))
        self._sizes = family.dimensions(config)
        self._shapes = dict(mixes.matrices(self._sizes))
        self._kinds = kinds
        self._targets = {(role, layer): name for role, layer, name in tensor_names(family.GGUF, self._sizes)}
        self._family = family
        self._errors: dict[tuple[Place, str], float] = {}
        self._kept: dict[tuple[Place, str], tuple[Header, Move]] = {}
        plain = scratch / "plain.gguf"
        writing.write(source, plain, lambda done, total: tell("written", done, total))
        wanted = {kind: self._places(kind) for kind in self._types()}
        for number, (kind, places) in enumerate(wanted.items(), 1):
            self._round(plain, kind, {place: matrices[place] for place in places})
            tell("rounded", number, len(wanted))
        plain.unlink()

    def error(self, places: Sequence[Place], kind: str) -> float:
        """Return how far the outputs of these matrices are off in a type: the mean square, summed."""
        return sum(self._errors[place, self._type(place, kind)] for place in places)

    def values(self, place: Place, kind: str) -> Any:
        """Return a matrix as one of the first KEPT types has it, torch.float32 [out, in]."""
        return _read(*self._kept[place, self._type(place, kind)])

    def _types(self) -> list[str]:
        """Return what matrices are rounded to, whatever that stands in for."""
        return list(dict.fromkeys(self._type(place, kind) for kind in self._kinds for place in self._shapes))

    def _type(self, place: Place, kind: str) -> str:
        return mixes.fitting(kind, self._shapes[place][1])

    def _places(self, kind: str) -> list[Place]:
        return [place for place in self._shapes if kind in [self._type(place, one) for one in self._kinds]]

    def _round(self, plain: Path, kind: str, matrices: Mapping[Place, tuple[Any, Any]]) -> None:
        out = plain.with_name(f"{kind}.gguf")
        chosen = {self._targets[place]: kind for place in matrices}
        rounding.round_each(plain, chosen, out, lambda done, total: None)
        header = read_header(out)
        found = materialise.moves(header.tensors, self._family, self._sizes)
        moves = {move.source: move for move in found}
        kept = {self._type(place, one) for place in matrices for one in self._kinds[:KEPT]}
        for place, (weight, squares) in matrices.items():
            move = moves[self._targets[place]]
            difference = weight.float() - _read(header, move)
            self._errors[place, kind] = float(((difference**2) @ squares.float()).double().sum())
            if kind in kept:
                self._kept[place, kind] = (header, move)
        if kind not in kept:
            out.unlink()


def _read(header: Header, move: Move) -> Any:
    import numpy as np
    import torch

    return torch.from_numpy(np.concatenate(list(materialise.values(header, move)))).view(move.shape)

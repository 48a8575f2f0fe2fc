"""How much each part of a model loses when it alone is rounded; `python -m builder.proving.sensitivity FILE`.

The source reads some texts, once as it is and once for each part with that part's matrices rounded to the
smallest type; by what the next-token distributions then differ is the part's loss. That of the other types
follows from how far the part's outputs are off, squared: the divergence has its minimum, 0, where nothing
changed, and grows with the square of a small change (second-order Taylor expansion, as HAWQ-V2 does,
arXiv:1911.03852). Where the smallest type changes much, the next one is measured as well.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from builder import architecture, complaint
from builder.architecture import Decoder, tensor_names
from builder.calibration import texts
from builder.gguf.parts import Place, parts_of
from builder.proving import source_model
from builder.proving.layers import Layers
from builder.proving.rounded import KEPT, Rounded

LONGEST = 64
"""Tokens of a row: the beginnings of many texts say more of a part than few whole ones."""


SMALL = 0.05
"""Nats up to which a change is small: beyond, errors squared promise too much or too little."""


def measure(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return {"sequences", "tokens", "losses": part -> type -> nats}.

    Args:
        asked: `source`, a Hugging Face folder; its `tokenizer`; `texts`, a file of which `tokens` are read;
            `kinds`, types to choose from, the smallest first; `scratch`, a folder for what is rounded.

    Raises:
        ConversionError: llama.cpp does not round these weights.
        UsageError: no token in any text.
    """
    import torch
    from transformers import AutoTokenizer

    folder = Path(asked["source"])
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    family = cast(Decoder, architecture.load(config["model_type"]))
    sizes = family.dimensions(config)
    data = texts.read(Path(asked["texts"]), "--calibration")
    ids = spread(texts.sequences(data, AutoTokenizer.from_pretrained(asked["tokenizer"])), asked["tokens"])
    model = source_model.load(folder)
    names: dict[Place, str] = {
        (role, layer): name for role, layer, name in tensor_names(family.HUGGING_FACE, sizes)
    }
    parts = parts_of(sizes)
    with torch.inference_mode():
        layers = Layers(model, ids)
        rounded = Rounded(folder, Path(asked["scratch"]), asked["kinds"], layers.weighed(names), tell)
        losses = {}
        for number, (part, places) in enumerate(parts.items(), 1):
            found: dict[str, float] = {}
            for kind in asked["kinds"][:KEPT]:
                changed = {names[place]: rounded.values(place, kind) for place in places}
                found[kind] = layers.divergence(changed, places[0][1])
                if found[kind] <= SMALL:
                    break
            losses[part] = scaled(found, {kind: rounded.error(places, kind) for kind in asked["kinds"]})
            tell("measured", number, len(parts))
    return {"sequences": len(ids), "tokens": sum(len(one) - 1 for one in ids), "losses": losses}


def tell(doing: str, done: int, total: int) -> None:
    """Print how far it is, for whoever watches the log."""
    sys.stdout.write(f"{doing} {done}/{total}\n")
    sys.stdout.flush()


def scaled(measured: Mapping[str, float], errors: Mapping[str, float]) -> dict[str, float]:
    """Return type -> loss: as measured, else from the last that was, by errors squared.

    A type that is off by nothing loses nothing.
    """
    last, loss = list(measured.items())[-1]
    rest = {
        kind: max(0.0, loss) * error / errors[last] if errors[last] else 0.0 for kind, error in errors.items()
    }
    return rest | {kind: max(0.0, loss) for kind, loss in measured.items()}


def spread(sequences: Sequence[list[int]], tokens: int, longest: int = LONGEST) -> list[list[int]]:
    """Return rows of `longest` tokens, so many tokens in all or what there is.

    They are the beginnings of texts that lie evenly among all, one behind the other where they are shorter:
    rows of one length are read at once.
    """
    wanted = max(1, tokens // longest)
    step = max(1, len(sequences) // wanted)
    order = [one for first in range(step) for one in sequences[first::step]]
    ids = [token for one in order for token in one[:longest]][: wanted * longest]
    if len(ids) < longest:
        return [ids]
    return [ids[begin : begin + longest] for begin in range(0, len(ids) // longest * longest, longest)]


def main(request: Path) -> None:
    """Read what `measure` is asked, and `out`."""
    asked = json.loads(request.read_text(encoding="utf-8"))
    found = measure(asked)
    Path(asked["out"]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    with complaint.printed(again="build again"):
        main(Path(sys.argv[1]))

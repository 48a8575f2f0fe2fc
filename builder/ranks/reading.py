"""What of a checkpoint is converted: its tensors, where they lie, and the type of their numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder import architecture, source, weight_format
from builder.errors import SourceError
from builder.safetensors_file import read_header
from builder.source import Checkpoint, TensorInfo
from builder.sources.safetensors import INDEX

IGNORED = ".rotary_emb.inv_freq"
"""A buffer of older checkpoints, which config.json speaks for."""


@dataclass(frozen=True)
class Source:
    """A tensor of the source: where it lies."""

    info: TensorInfo
    path: Path
    place: int

    @property
    def rows(self) -> int:
        return self.info.shape[0]

    @property
    def row_bytes(self) -> int:
        return self.info.nbytes // self.rows


def tensors(checkpoint: Checkpoint, head: str) -> dict[str, TensorInfo]:
    """Return the tensors of an unquantised checkpoint that its config speaks for.

    Args:
        checkpoint: of safetensors.
        head: the name of the head, which a tied model may have all the same.

    Raises:
        SourceError: tensors that the config says nothing of, or weights that are quantised.
    """
    stored = weight_format.read(checkpoint.config)
    if stored is not None:
        raise SourceError(
            f"{checkpoint.origin} is quantised already: {stored.scheme}",
            expected="weights in bfloat16, float16 or float32",
            remedy="pass the checkpoint that it was made of, or serve this one with --target vllm or llmapi",
        )
    kind = architecture.load(checkpoint.model_type)
    known = architecture.expected_tensors(kind, checkpoint.config, "safetensors", checkpoint.tensors)
    held = {name: one for name, one in checkpoint.tensors.items() if name in known or name == head}
    more = sorted(name for name in checkpoint.tensors if name not in held and not name.endswith(IGNORED))
    if more:
        and_more = f" and {len(more) - 3} more" if len(more) > 3 else ""
        raise SourceError(
            f"{checkpoint.origin} holds {', '.join(more[:3])}{and_more}, of which its config says nothing",
            expected=f"the {len(known)} tensors of a {checkpoint.model_type} of its config",
            remedy="take config.json from the model's own repository again",
        )
    return held


def dtype(origin: str, held: Mapping[str, TensorInfo]) -> str:
    """Return the type that all tensors have, by safetensors' name; raise SourceError where they differ."""
    found = Counter(one.dtype for one in held.values()).most_common()
    if len(found) == 1:
        return found[0][0]
    (usual, many), (rare, few) = found[0], found[-1]
    first = next(name for name, one in held.items() if one.dtype == rare)
    raise SourceError(
        f"{origin} mixes types: {many} tensors are {usual}, {few} {rare}, such as {first}",
        expected="one type: which of them is meant cannot be known",
        remedy="save the model in one, with transformers: model.to(torch.bfloat16).save_pretrained(DIR)",
    )


def places(checkpoint: Checkpoint, names: Sequence[str]) -> list[Source]:
    """Return where each tensor lies."""
    index = checkpoint.path / INDEX
    homes = source.read_json(index)["weight_map"] if index in checkpoint.files else {}
    found = {}
    for path in checkpoint.files:
        if path.suffix == ".safetensors":
            header = read_header(path)
            for name, info in header.tensors.items():
                # of two shards that hold one of the same name the index knows the right one
                if homes.get(name, path.name) == path.name:
                    found[name] = Source(info, path, header.places[name])
    return [found[name] for name in names]

"""A text encoder as one ONNX graph; run as `python -m builder.exporting.text_encoder REQUEST.json`.

Inputs are int32. `input_ids` [ids] are those of all rows, one after the other, with what fills a row up;
of `places` [longest] only the size counts, at least the tokens of the longest row: Triton makes it of
`extent`, which is an input because it must be. `rows` [rows, 2] has of each row its tokens and its width,
the filling counted; of pairs of texts (reranking) it is [rows, 3], with the tokens of the first text.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from builder import pooling
from builder.errors import ConversionError
from builder.exporting import finishing, graph_file, heads, outliers, packing, precision

_CLASSES = {
    "embedding": "AutoModel",
    "classification": "AutoModelForSequenceClassification",
    "reranking": "AutoModelForSequenceClassification",
    "token_classification": "AutoModelForTokenClassification",
}
_NUMBERED_AFTER_PADDING = ("roberta", "xlm-roberta", "camembert")
_MOST_IDS, _MOST_ROWS = 1 << 20, 4096
_EXAMPLE = ((7, 9), (5, 9), (18, 18))


class TextEncoder(nn.Module):  # type: ignore[misc]  # torch is not there for the type checker
    """A transformers model that takes a whole batch flat, and the pipeline's own answer after it."""

    def __init__(
        self, source: Path, pipeline: str, most: int, computing_in: str = "fp32", *, fused: bool = False
    ) -> None:
        super().__init__()
        self.fused = fused
        self.pipeline = pipeline
        self.most = most
        self.model = _load(source, pipeline)
        precision.before_export(self.model, computing_in)
        self.is_packed = packing.make_packable(self.model)
        self.takes = frozenset(inspect.signature(self.model.forward).parameters)
        found = pooling.read(source) if pipeline == "embedding" else None
        width = self.model.config.hidden_size
        self.head = heads.Embedding(found or pooling.Pooling(("mean",), width, normalized=True))

    def forward(self, input_ids: Tensor, extent: Tensor, places: Tensor, rows: Tensor) -> Tensor:
        """Return what the pipeline answers with, one row for each text."""
        tokens, widths, *firsts = rows.unbind(1)
        packed = packing.Packing(tokens, widths, input_ids.shape[0], places.shape[0], fused=self.fused)
        ids = input_ids[None]
        more = {"token_type_ids": self._segments(packed, *firsts)} if "token_type_ids" in self.takes else {}
        if self.is_packed:
            more["position_ids"] = self._positions(packed, ids)
        else:
            ids = packed.laid_out(ids, self.model.config.pad_token_id or 0)
        with packing.used(packed):
            output = self.model(input_ids=ids, attention_mask=packed.is_token.long(), **more)
        if self.pipeline == "embedding":
            return self.head(output.last_hidden_state.float(), packed.is_token)
        return self._scores(output.logits.float())

    def _segments(self, packed: packing.Packing, first: Tensor | None = None) -> Tensor:
        """Return token types, 1 from the second text on: as many as ids, or [1, 1] where all are 0."""
        if first is None or (self.model.config.type_vocab_size or 0) < 2:
            return torch.zeros(1, 1, dtype=torch.long)
        is_second = packed.place >= first[:, None]
        if self.is_packed:
            return packed.packed(is_second.flatten()).long()[None]
        return (is_second & packed.is_token).long()

    def _positions(self, packed: packing.Packing, ids: Tensor) -> Tensor:
        """Return what the position of each id is, int64 [1, ids].

        Some families count from the padding id on, and give a token of that id no number of its own.
        """
        if self.model.config.model_type not in _NUMBERED_AFTER_PADDING:
            return packed.places
        padding = self.model.config.pad_token_id
        is_numbered = packed.laid_out(ids, padding) != padding
        positions = torch.where(is_numbered, is_numbered.cumsum(1), 0) + padding
        return packed.packed(positions.flatten())[None]

    def _scores(self, logits: Tensor) -> Tensor:
        several = self.model.config.problem_type == "multi_label_classification"
        if self.pipeline == "reranking":
            one = logits[:, :1]
            return one if _keeps_logits(self.model.config) else torch.sigmoid(one)
        if several or logits.shape[-1] == 1:
            return torch.sigmoid(logits)
        return torch.softmax(logits, dim=-1)


def _load(source: Path, pipeline: str) -> Any:
    import transformers

    kind = getattr(transformers, _CLASSES[pipeline])
    options: dict[str, Any] = {"dtype": torch.float32, "attn_implementation": "eager"}
    model, report = kind.from_pretrained(source, output_loading_info=True, **options)
    missing = sorted(name for name in report["missing_keys"] if "pooler" not in name)
    if missing:
        raise ConversionError(
            f"{source} lacks {', '.join(missing[:3])} of a {type(model).__name__}",
            expected=f"a checkpoint of the {pipeline} pipeline",
            remedy="choose another pipeline",
        )
    if pipeline == "reranking" and model.config.num_labels != 1:
        raise ConversionError(
            f"{source} gives {model.config.num_labels} scores for a pair of texts",
            expected="one, how well they fit",
            remedy="choose the pipeline classification",
        )
    return model.eval()


def _keeps_logits(config: Any) -> bool:
    """Say whether a cross-encoder was trained to be read without sigmoid, as its config may say."""
    told = getattr(config, "sentence_transformers", None) or {}
    named = str(told.get("activation_fn", getattr(config, "sbert_ce_default_activation_function", "")))
    return named.endswith("Identity")


def example(pairs: bool, most: int) -> dict[str, Tensor]:
    """Return the inputs by which the graph is traced: three rows, two of them of one request.

    None has more than `most` tokens. Two at least have a place: torch takes a size of 1 for a constant.
    """
    most = max(2, most)
    rows = torch.tensor([(min(tokens, most), width) for tokens, width in _EXAMPLE], dtype=torch.int32)
    flat = {
        "input_ids": torch.ones(int(rows[:, 1].sum()), dtype=torch.int32),
        "extent": torch.zeros(int(rows[:, 0].sum()), dtype=torch.int32),
        "places": torch.zeros(int(rows[:, 0].max()), dtype=torch.int32),
    }
    first = torch.full_like(rows[:, :1], 2)
    return {**flat, "rows": torch.cat([rows, first], dim=1) if pairs else rows}


def export(encoder: TextEncoder, output: str) -> Any:
    """Return the graph with its weights, as onnx's ModelProto."""
    given = example(encoder.pipeline == "reranking", encoder.most)
    ids = {0: torch.export.Dim("ids", min=2, max=_MOST_IDS)}
    extent = {0: torch.export.Dim("extent", min=2, max=_MOST_IDS)}
    longest = {0: torch.export.Dim("longest", min=2, max=max(3, encoder.most))}
    rows = {0: torch.export.Dim("rows", min=1, max=_MOST_ROWS)}
    with torch.no_grad():
        program = torch.onnx.export(
            encoder.eval(),
            tuple(given.values()),
            dynamo=True,
            dynamic_shapes=(ids, extent, longest, rows),
            input_names=list(given),
            output_names=[output],
            opset_version=graph_file.OPSET,
            verbose=False,
        )
    program.optimize()
    return program.model_proto


def main(request: Path) -> None:
    """Read what `target.onnxruntime` asks; write the graph."""
    asked: Mapping[str, Any] = json.loads(request.read_text(encoding="utf-8"))
    encoder = TextEncoder(
        Path(asked["source"]),
        asked["pipeline"],
        int(asked["most"]),
        asked["precision"],
        fused=bool(asked.get("fused")),
    )
    inputs = outliers.texts(
        encoder.model.config.vocab_size, encoder.most, pairs=encoder.pipeline == "reranking"
    )
    finishing.finish(export(encoder, asked["output"]), asked, inputs)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

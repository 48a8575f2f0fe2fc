"""An image classifier as one ONNX graph; run as `python -m builder.exporting.image_encoder REQUEST.json`.

Input: `pixel_values` float32 [images, channels, height, width], as the checkpoint's preprocessor makes them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from builder.errors import ConversionError
from builder.exporting import finishing, graph_file, outliers, precision

_MOST_ROWS = 4096
_EXAMPLES = 3


class ImageEncoder(nn.Module):  # type: ignore[misc]  # torch is not there for the type checker
    """A transformers model with its classifier, and the probability of each label after it."""

    def __init__(self, source: Path, kind: str) -> None:
        super().__init__()
        self.model = _load(source)
        precision.before_export(self.model, kind)
        several = self.model.config.problem_type == "multi_label_classification"
        self.scores = torch.sigmoid if several else lambda logits: torch.softmax(logits, dim=-1)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Return float32 [images, labels]."""
        return self.scores(self.model(pixel_values=pixel_values.to(self.model.dtype)).logits.float())


def _load(source: Path) -> Any:
    from transformers import AutoModelForImageClassification

    # the fused attention's trace guards against rows without any key, which images have not
    options: dict[str, Any] = {"dtype": torch.float32, "attn_implementation": "eager"}
    model, report = AutoModelForImageClassification.from_pretrained(
        source, output_loading_info=True, **options
    )
    missing = sorted(report["missing_keys"])
    if missing:
        raise ConversionError(
            f"{source} lacks {', '.join(missing[:3])} of a {type(model).__name__}",
            expected="a checkpoint of an image classifier",
            remedy="fetch the checkpoint again",
        )
    return model.eval()


def export(encoder: ImageEncoder, image: tuple[int, int, int], output: str) -> Any:
    """Return the graph with its weights, as onnx's ModelProto; `image` is channels, height and width."""
    rows = torch.export.Dim("rows", min=1, max=_MOST_ROWS)
    with torch.no_grad():
        program = torch.onnx.export(
            encoder.eval(),
            (torch.zeros(_EXAMPLES, *image),),
            dynamo=True,
            dynamic_shapes=({0: rows},),
            input_names=["pixel_values"],
            output_names=[output],
            opset_version=graph_file.OPSET,
            verbose=False,
        )
    program.optimize()
    return program.model_proto


def main(request: Path) -> None:
    """Read what the target `onnxruntime` asks; write the graph."""
    asked: Mapping[str, Any] = json.loads(request.read_text(encoding="utf-8"))
    encoder = ImageEncoder(Path(asked["source"]), asked["precision"])
    channels, height, width = asked["image"]
    shape = (channels, height, width)
    finishing.finish(export(encoder, shape, asked["output"]), asked, outliers.images("pixel_values", shape))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

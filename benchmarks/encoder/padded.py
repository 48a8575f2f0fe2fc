"""An ordinary export: a transformers model as ONNX, texts padded to the longest of their batch.

    python -m encoder.padded CHECKPOINT model.onnx

This is the graph of the peers that run ONNX Runtime, and one of the two that the raw row may choose.
"""

from __future__ import annotations

import sys
from pathlib import Path

OPSET = 18


def main(checkpoint: Path, out: Path) -> None:
    """Write the graph: input_ids, attention_mask int64 [rows, longest] -> embedding float32 [rows, width]."""
    import torch
    import transformers

    class Embedder(torch.nn.Module):
        """Mean of the tokens, then length 1, as all-MiniLM-L6-v2's modules.json says."""

        def __init__(self) -> None:
            super().__init__()
            self.model = transformers.AutoModel.from_pretrained(checkpoint)

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            kept = attention_mask[..., None].to(hidden.dtype)
            mean = (hidden * kept).sum(1) / kept.sum(1)
            return torch.nn.functional.normalize(mean, dim=1)

    # two tensors: one given twice would be exported as one input
    example = torch.ones(3, 17, dtype=torch.int64), torch.ones(3, 17, dtype=torch.int64)
    shape = {0: torch.export.Dim("rows", min=1, max=4096), 1: torch.export.Dim("tokens", min=2, max=512)}
    program = torch.onnx.export(
        Embedder().eval(),
        example,
        dynamo=True,
        dynamic_shapes={"input_ids": shape, "attention_mask": shape},
        input_names=["input_ids", "attention_mask"],
        output_names=["embedding"],
        opset_version=OPSET,
        verbose=False,
    )
    program.optimize()
    program.save(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

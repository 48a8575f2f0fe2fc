"""NVIDIA's ModelOpt: transformers loads the model, its export writes one rank."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import modelopt.torch.export
import torch
import transformers


def main(source: Path, out: Path) -> None:
    """Write one rank of a Llama."""
    model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
    modelopt.torch.export.export_tensorrt_llm_checkpoint(
        model, "llama", torch.bfloat16, out, inference_tensor_parallel=1
    )
    for file in out.iterdir():
        with file.open("rb") as stream:
            os.fsync(stream.fileno())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

"""A program of torch.export as one ONNX graph.

Run as `python -m builder.exporting.exported_program REQUEST.json`.
Loading the program runs code that it holds: whoever asks has the user's trust, or `sources` had refused.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from builder import trust
from builder.errors import ConversionError
from builder.exporting import graph_file, wiring
from builder.sources import exported_program as source


def export(path: Path, folder: Path) -> None:
    """Write the program as `model.onnx`; its inputs and outputs are called as the plan said.

    Raises:
        SourceError: the program is no function from tensors to tensors.
        ConversionError: torch cannot load it, or an operator of it has no counterpart in ONNX.
    """
    with trust.granted():
        config = source.read(str(path), None).config
    inputs = [one["name"] for one in config["inputs"]]
    outputs = [one["name"] for one in config["outputs"]]
    model = _translate(_load(path), inputs, outputs)
    found = [one.name for one in model.graph.input], [one.name for one in model.graph.output]
    if found != (inputs, outputs):
        raise ConversionError(
            f"the graph takes {', '.join(found[0])} and gives {', '.join(found[1])}",
            expected=f"{', '.join(inputs)} and {', '.join(outputs)}, by the program's own signature",
            remedy="export the module again without inputs that it does not use",
        )
    wiring.square(model, config)
    graph_file.write(model, folder, int(config["weight_bytes"]))


def _load(path: Path) -> Any:
    import torch

    try:
        return torch.export.load(path)
    except Exception as error:
        raise ConversionError(
            f"torch {torch.__version__} cannot load {path}: {error}",
            expected="a program saved by this version of torch or an older one",
            remedy="save it again with this version: torch.export.save(PROGRAM, FILE)",
        ) from error


def _translate(program: Any, inputs: list[str], outputs: list[str]) -> Any:
    import torch

    try:
        with torch.no_grad():
            found = torch.onnx.export(
                program,
                dynamo=True,
                input_names=inputs,
                output_names=outputs,
                opset_version=graph_file.OPSET,
                verbose=False,
            )
        found.optimize()
        return found.model_proto
    except torch.onnx.OnnxExporterError as error:
        raise ConversionError(
            f"the program cannot be written as ONNX: {error}",
            expected="operators that torch.onnx translates",
            remedy="replace the operator that the message names, or export to .onnx with a translation of it",
        ) from error


def main(request: Path) -> None:
    """Read {source, out}; write the graph. All else of the request has no meaning for it."""
    asked = json.loads(request.read_text(encoding="utf-8"))
    export(Path(asked["source"]), Path(asked["out"]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

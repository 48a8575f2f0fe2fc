"""A bare ONNX graph as it is, in one file; run as `python -m builder.exporting.onnx_graph REQUEST.json`.

Nodes, opset and names stay. Weights that lie in files of their own come into the graph's, up to 2 GiB.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from builder.errors import ConversionError
from builder.exporting import graph_file, wiring
from builder.sources import onnx as source


def export(path: Path, folder: Path) -> None:
    """Write the graph into a folder.

    Raises:
        SourceError: it is no whole graph, or lacks weights.
        ConversionError: it breaks a rule of ONNX.
    """
    import onnx

    found = source.read(str(path), None)
    try:
        model = onnx.load(path)
    except Exception as error:
        # protobuf and the reader of external data each have their own
        raise ConversionError(
            f"{path} cannot be read as ONNX: {error}", remedy="export it again, or fetch it again"
        ) from error
    wiring.square(model, found.config)
    graph_file.write(model, folder, int(found.config["weight_bytes"]))


def main(request: Path) -> None:
    """Read {source, out}; write the graph. All else of the request has no meaning for it."""
    asked = json.loads(request.read_text(encoding="utf-8"))
    export(Path(asked["source"]), Path(asked["out"]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

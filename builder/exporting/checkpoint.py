"""A checkpoint for an engine that reads it as it is: `python -m builder.exporting.checkpoint SOURCE OUT`.

Weights are linked where the disk is the same. Files that people edit are copied: whoever changes one in a
repository must not change the checkpoint.
"""

from __future__ import annotations

import sys
from pathlib import Path

from builder import files, weight_format

WEIGHTS = ".safetensors"
DESCRIPTIONS = (
    *("config.json", "generation_config.json", "model.safetensors.index.json"),
    weight_format.SEPARATE,
)


def lay(source: Path, out: Path) -> None:
    """Put weights and their descriptions into a folder; tokenizers are kept apart.

    Raises FileNotFoundError when there are no weights in safetensors.
    """
    weights = sorted(file for file in source.iterdir() if file.suffix == WEIGHTS)
    if not weights:
        raise FileNotFoundError(f"{source} holds no weights in {WEIGHTS} files")
    out.mkdir(parents=True, exist_ok=True)
    for file in weights:
        files.place(file, out / file.name)
    for name in DESCRIPTIONS:
        if (source / name).is_file():
            (out / name).write_bytes((source / name).read_bytes())


if __name__ == "__main__":
    lay(Path(sys.argv[1]), Path(sys.argv[2]))

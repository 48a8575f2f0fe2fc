"""A program of torch.export, `.pt2`: its own JSON says what it takes and gives.

Nothing of it is loaded here. To convert it, torch.export.load must run, and that runs code which the
archive holds: it unpickles sample inputs and constants, and evaluates symbolic sizes as Python (torch's own
warning: https://docs.pytorch.org/docs/stable/export/api_reference.html#torch.export.load). So a program
is read only from those whom the user trusts, as a pickle is.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from builder import exported_program, graph, trust
from builder.errors import SourceError
from builder.graph import Unsuitable
from builder.source import Checkpoint, fingerprint

SUFFIX = ".pt2"
RUNS_CODE = "is a torch.export program: loading it unpickles and evaluates parts of it"
INSTEAD = "a model that holds no code: an .onnx file, as torch.onnx.export writes"


def recognises(reference: str) -> bool:
    """Say whether the reference is called like an exported program."""
    return reference.lower().endswith(SUFFIX) and not reference.startswith("package:")


def read(reference: str, revision: str | None) -> Checkpoint:
    """Read what a program says of its tensors; `revision` has no meaning for it.

    The config holds what that of a bare ONNX graph holds, and `torch_version`, which saved the program.

    Raises:
        SourceError: no trust, no such archive, or a program that is no function from tensors to tensors.
    """
    path = Path(reference)
    graph.require_file(path, "a .pt2 file")
    trust.require(path, RUNS_CODE, INSTEAD)
    program = _program(path)
    try:
        config = exported_program.config(program)
    except Unsuitable as problem:
        raise problem.at(path) from problem
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise _damaged(path, f"its program lacks {error}") from error
    return Checkpoint(
        format="exported_program",
        origin=reference,
        path=path,
        files=(path,),
        config={"model_type": "exported_program", **config, "weight_bytes": path.stat().st_size},
        tensors={},
        tokenizer_files={},
        chat_template=None,
        fingerprint=fingerprint([path], [json.dumps(config).encode()]),
        revision=revision or "",
    )


def _program(path: Path) -> Mapping[str, Any]:
    """Return the serialised program of the archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if _is_program(name)]
            if len(names) != 1:
                raise _unusual(path, archive.namelist(), len(names))
            found = json.loads(archive.read(names[0]))
    except (zipfile.BadZipFile, json.JSONDecodeError, UnicodeDecodeError, EOFError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(found, dict):
        raise _damaged(path, f"its program is a JSON {type(found).__name__}")
    return found


def _is_program(name: str) -> bool:
    # every entry lies in one folder, which is called like the file was when it was saved
    parts = name.split("/")
    return parts[-2:-1] == ["models"] and parts[-1].endswith(".json")


def _unusual(path: Path, names: list[str], programs: int) -> SourceError:
    if programs > 1:
        return SourceError(
            f"{path} holds {programs} programs",
            expected="one",
            remedy="save each in a file of its own: torch.export.save(PROGRAM, FILE)",
        )
    if any("aotinductor" in name for name in names):
        return SourceError(
            f"{path} is a package of compiled code, without the program that it was compiled from",
            expected="what torch.export.save writes",
            remedy="save the program before it is compiled: torch.export.save(PROGRAM, FILE)",
        )
    if any(name.endswith("serialized_exported_program.json") for name in names):
        return SourceError(
            f"{path} was saved by a torch older than 2.8",
            expected="an archive with models/model.json",
            remedy="load it and save it again with a current torch: torch.export.load, torch.export.save",
        )
    return SourceError(
        f"{path} is a zip archive without a program",
        expected="models/model.json in it",
        remedy="save it again",
    )


def _damaged(path: Path, what: str) -> SourceError:
    return SourceError(
        f"{path} is damaged, or no exported program: {what}",
        expected="what torch.export.save writes",
        remedy="save it again: torch.export.save(PROGRAM, FILE)",
    )

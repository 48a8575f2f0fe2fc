"""Sensitivities: how much each part of a checkpoint loses by rounding, measured once and kept as a profile.

The profile lies in the cache by the digests of checkpoint and texts; `--sensitivities FILE` is the same file
where the user wants it, so that a machine without the weights may plan by it.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from builder import artifact_key, files, house, source, source_folder
from builder.architecture import Dimensions
from builder.calibration import texts
from builder.errors import ConversionError
from builder.gguf import parts
from builder.plan import Plan
from builder.planning import sensitivities
from builder.planning.sensitivities import Sensitivities
from builder.proving import child
from builder.source import Checkpoint

Progress = Callable[[str, float], None]

TOKENS = 256
"""That are read for each part; what more of them change is in docs/fit.md."""

TOOLS = ("cyllama", "gguf", "torch", "transformers", "tokenizers")


def known(checkpoint: Checkpoint | None, precision: str, calibration: str | None) -> Path | None:
    """Return the profile of a checkpoint that the cache has, None where none is known without reading it."""
    digests = source.remembered(checkpoint) if checkpoint is not None else None
    if digests is None:
        return None
    path = _kept(digests, precision, Path(calibration or texts.SHIPPED))
    return path if path.is_file() else None


def measured(plan: Plan, checkpoint: Checkpoint, precision: str, asked: str, progress: Progress) -> Path:
    """Return the profile of a plan's checkpoint, measured where the cache has none.

    Args:
        plan: of a mixture.
        checkpoint: its weights, read in the `precision` that they are stored in.
        asked: the user's own file of it, which is taken where it is there and written where not; "" for none.
        progress: hears what is done, and how far it is.

    Raises:
        UsageError: the user's file is of another checkpoint, or no profile.
        ConversionError: the weights cannot be rounded, the file cannot be written.
        ProofError: the source does not run.
    """
    own, data = Path(asked), texts.read(Path(plan.calibration or texts.SHIPPED))
    with files.translated(ConversionError, "measuring sensitivities"):
        folder, digests = source_folder.of_checkpoint(checkpoint, "the checkpoint", progress)
        if asked and own.exists():
            return _of(own, digests, plan, precision)
        kept = _kept(digests, precision, data.path)
        if not kept.is_file():
            _measure(folder, digests, precision, data, kept, progress)
        if asked:
            files.replace_text(own, kept.read_text(encoding="utf-8"))
            return own
    return kept


def _of(path: Path, digests: Mapping[str, str], plan: Plan, precision: str) -> Path:
    assert isinstance(plan.dimensions, Dimensions)
    found = sensitivities.read(path, plan.dimensions, parts.kinds(precision))
    differing = sorted(
        name for name in {*digests, *found.source} if digests.get(name) != found.source.get(name)
    )
    if differing:
        raise sensitivities.another(path, f"{', '.join(differing[:3])} was another file")
    return path


def _kept(digests: Mapping[str, str], precision: str, data: Path) -> Path:
    told = {
        "source": dict(digests),
        "texts": texts.read(data).sha256,
        "tokens": TOKENS,
        "kinds": list(parts.kinds(precision)),
        "format": sensitivities.FORMAT,
    }
    return house.cache_folder() / "sensitivities" / f"{artifact_key.key(told)}.json"


def _measure(
    folder: Path,
    digests: Mapping[str, str],
    precision: str,
    data: texts.Data,
    kept: Path,
    progress: Progress,
) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    log = house.cache_folder() / "logs" / f"sensitivity-{kept.stem[:16]}.log"
    with files.scratch(kept) as scratch:
        (scratch / "rounded").mkdir()
        asked = {
            "source": str(folder),
            "tokenizer": str(folder),
            "texts": str(data.path),
            "tokens": TOKENS,
            "kinds": parts.kinds(precision),
            "scratch": str(scratch / "rounded"),
            "out": str(scratch / "measured.json"),
        }
        child.run("sensitivity", asked, scratch / "request.json", log, lambda text: progress(*_share(text)))
        found = json.loads((scratch / "measured.json").read_text(encoding="utf-8"))
        whole = Sensitivities(found["losses"], digests, data.sha256, found["tokens"])
        told: dict[str, Any] = {
            "texts": {"file": data.name, "sequences": found["sequences"]},
            "tools": artifact_key.tools(TOOLS),
        }
        files.write_json(scratch / "profile.json", sensitivities.to_json(whole, told))
        shutil.move(scratch / "profile.json", kept)
    progress(DOING["measured"], 1.0)


DOING = {
    "written": "writing the weights to round them",
    "rounded": "rounding every matrix to every type",
    "measured": "measuring what each part loses",
}


def _share(log: str) -> tuple[str, float]:
    found = re.findall(rf"^({'|'.join(DOING)}) (\d+)/(\d+)$", log, re.MULTILINE)
    if not found:
        return DOING["written"], 0.0
    doing, done, total = found[-1]
    return DOING[doing], int(done) / int(total)

"""The folders that a conversion reads: of the checkpoint, and of the draft that guesses ahead of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from builder import architecture, artifact_key, files, house, source, speculation
from builder.plan import Plan
from builder.source import Checkpoint

Progress = Callable[[str, float], None]


def of_checkpoint(checkpoint: Checkpoint, what: str, progress: Progress) -> tuple[Path, dict[str, str]]:
    """Fetch a checkpoint; return it as its exporter reads it, and the digests of its files."""
    checkpoint = source.fetch(
        checkpoint, lambda done, total: progress(f"fetching {what}", done / max(1, total))
    )
    digests = source.digest(checkpoint, lambda done, total: progress(f"hashing {what}", done / max(1, total)))
    return _hugging_face(checkpoint, digests, progress), digests


def of_draft(plan: Plan, model: Path, progress: Progress) -> tuple[Path | None, dict[str, str]]:
    """Return the same of the draft, None and nothing where none guesses.

    Raises SourceError where its tokenizer is not that of the `model`.
    """
    if plan.speculation is None or plan.speculation.draft is None:
        return None, {}
    draft = plan.speculation.draft
    found = source.open_checkpoint(draft.origin, draft.revision or None)
    folder, digests = of_checkpoint(found, "the draft", progress)
    tokenizers = (folder / "tokenizer.json", model / "tokenizer.json")
    speculation.require_same_tokens(draft.origin, plan.name, tokenizers)
    return folder, digests


def _hugging_face(checkpoint: Checkpoint, digests: dict[str, str], progress: Progress) -> Path:
    """Return the checkpoint as it is, or written out in float32."""
    module = house.plugin("sources", checkpoint.format, option="source")
    if not hasattr(module, "materialise"):
        return checkpoint.path
    versions = artifact_key.tools(("gguf", "tokenizers"))
    final = house.cache_folder() / "sources" / artifact_key.key({"source": digests, "tools": versions})
    if not final.is_dir():
        with files.staged(final) as folder:
            module.materialise(
                checkpoint,
                architecture.load(checkpoint.model_type),
                folder,
                lambda done, total: progress("reading the weights", done / max(1, total)),
            )
    return final

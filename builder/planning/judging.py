"""What a build that generates is judged by: its held-out texts, and what may be lost on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from builder.calibration import texts
from builder.errors import UsageError
from builder.planning.asked import Options, Subject
from builder.planning.precision import Precision
from builder.quantization import Limits


def limits(kind: str, subject: Subject, chosen: Precision, options: Options) -> Limits | None:
    """Return what may be lost: by options, else by the recipe, else by the precision; None for other kinds.

    Raises UsageError for texts that cannot be read, and for any of it with a model of another kind.
    """
    asked = {
        "perplexity": ("--max-perplexity-ratio", options.max_perplexity_ratio),
        "divergence": ("--max-divergence", options.max_divergence),
        "agreement": ("--min-agreement", options.min_agreement),
    }
    if kind != "generation":
        given = [option for option, value in asked.values() if value is not None]
        given += ["--evaluate"] * (options.evaluation is not None)
        if given:
            raise UsageError(
                f"{', '.join(given)}: this model expects no next token",
                expected="a model that generates; others are judged by their answers to every shipped input",
                remedy=f"leave {'it' if len(given) == 1 else 'them'} out",
            )
        return None
    if options.evaluation is not None:
        texts.read(Path(options.evaluation), "--evaluate")
    told = {name: value for name, (_, value) in asked.items() if value is not None}
    return replace(subject.limits.get(chosen.name, chosen.quantization.budget.held_out), **told)

"""Whether the texts that scales are measured with are like those that will be asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from builder.calibration import likeness, texts
from builder.calibration.likeness import Likeness
from builder.calibration.texts import Data

OPTION = "--workload"


def compared(calibration: str, workload: str) -> dict[str, Any]:
    """Return what is recorded of a workload's texts beside those of a calibration, {} where none are named.

    Args:
        calibration: the file that scales are measured with, "" for the shipped one.
        workload: the file of what will be asked, "" for none: then nothing is said, since shipped prompts
            in English would call German texts for a German workload unlike.

    `across` and `within` are in bits, `unlike` is a share; `warning` is there where there is one.

    Raises UsageError for a file that cannot be read.
    """
    if not workload:
        return {}
    ours = texts.read(Path(calibration)) if calibration else texts.read()
    theirs = texts.read(Path(workload), OPTION)
    found = likeness.compare(ours.pieces(), theirs.pieces())
    doubted = doubt(ours, theirs, found)
    return {
        "file": theirs.name,
        "sha256": theirs.sha256,
        "texts": len(theirs.prompts),
        "pieces": found.pieces,
        **{name: round(getattr(found, name), 3) for name in ("across", "within", "unlike")},
        **({"warning": doubted} if doubted else {}),
    }


def doubt(ours: Data, theirs: Data, found: Likeness) -> str:
    """Return how unlike they are, with the numbers, "" where they are alike."""
    if not found.is_judged:
        return (
            f"{OPTION} {theirs.name} and calibration texts {ours.name} can be compared by {found.pieces:,} "
            f"words, which is too few to tell whether they are alike: {likeness.LEAST:,} in the calibration "
            f"texts and {2 * likeness.LEAST:,} in the workload's are the least"
        )
    if found.unlike <= likeness.UNLIKE:
        return ""
    return (
        f"calibration texts {ours.name} are unlike the workload {theirs.name}: their words diverge by "
        f"{found.across:.2f} bits, those of the workload's own halves by {found.within:.2f}, so they are "
        f"{found.unlike:.0%} of the way to sharing no word, beyond {likeness.UNLIKE:.0%}: inputs of the "
        "workload may be larger than any seen, and are cut off; give --calibration texts like those that "
        "will be asked"
    )


def warnings(calibration: str, workload: str) -> list[str]:
    """Return what there is too little of, without a tokenizer, and what is unlike; [] where all is well.

    Args:
        calibration: as for `compared`.
        workload: likewise.
    """
    little = texts.doubt(texts.read(Path(calibration))) if calibration else ""
    return [line for line in (little, compared(calibration, workload).get("warning", "")) if line]

"""Compare an artifact with its source in float32; run as `python -m builder.proving.parity REQUEST.json`.

The artifact is run by ONNX Runtime itself, nothing of what runs inside Triton between. Every case is asked
alone and in batches of many sizes, in every layout that a batch can have.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from builder import house
from builder.errors import ProofError
from builder.exporting import fused_attention
from builder.proving.sample import Array, Asked, Case, Samples, Sampling

_ROUNDS = 2
_PROVIDERS = {"cpu": ["CPUExecutionProvider"], "cuda": ["CUDAExecutionProvider"]}


def cosine(one: Array, other: Array) -> float:
    """Return the cosine between two arrays as vectors; 1 between two of zero length, or two equal texts."""
    if not _are_numbers(one, other):
        return float(np.array_equal(one, other))
    left, right = np.ravel(one).astype(np.float64), np.ravel(other).astype(np.float64)
    size = float(np.linalg.norm(left) * np.linalg.norm(right))
    if size == 0:
        return 1.0 if np.array_equal(left, right) else 0.0
    if np.isinf(size):
        # beside an infinite number the others say nothing of a direction
        return float(np.array_equal(left, right))
    return float(left @ right / size)


def distance(one: Array, other: Array, scale: Array | None = None) -> float:
    """Return the largest difference of two numbers at the same place, of texts 0 where all are equal.

    It is infinite where the shapes, the texts, or one of two infinite numbers differ. With `scale`, as large
    as both, each counts as a share of that.
    """
    if np.shape(one) != np.shape(other):
        return float("inf")
    if not _are_numbers(one, other):
        return 0.0 if np.array_equal(one, other) else float("inf")
    left, right = np.asarray(one, np.float64), np.asarray(other, np.float64)
    apart = left != right
    units = np.ones_like(left) if scale is None else scale
    return float((np.abs(left[apart] - right[apart]) / units[apart]).max(initial=0.0))


def _are_numbers(*arrays: Array) -> bool:
    return all(np.asarray(array).dtype.kind in "biuf" for array in arrays)


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Return Spearman's rho: Pearson's correlation of the ranks, of equal values their mean."""
    left, right = _ranks(one), _ranks(other)
    return float(np.corrcoef(left, right)[0, 1])


def _ranks(values: Sequence[float]) -> Array:
    ordered = np.sort(values)
    low, high = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    return (low + high - 1) / 2


def batches(cases: Sequence[Case], most: int) -> Iterator[list[Case]]:
    """Yield batches of 1, 2, 3, 5, 8, ... up to `most` cases; each case is in one of each size twice."""
    chance = random.Random(0)
    sizes = sorted({size for size in (1, 2, 3, 5, 8, 16, 32, most) if size <= most})
    for size in sizes:
        for _ in range(1 if size == 1 else _ROUNDS):
            mixed = chance.sample(list(cases), len(cases))
            yield from (mixed[begin : begin + size] for begin in range(0, len(mixed), size))


def compare(session: Any, sampling: Sampling, found: Samples, asked: Asked) -> list[dict[str, Any]]:
    """Return for each case its worst cosine and error against the source, and against itself alone."""
    alone: dict[str, Array] = {}
    furthest: dict[str, Array] = {}
    rows: dict[str, dict[str, Any]] = {
        case.id: {"id": case.id, "cosine": 1.0, "error": 0.0, "drift": 0.0, "where": ""}
        for case in found.cases
    }
    names = [asked.main, *([found.decision] if found.decided else [])]
    every = list(batches(found.cases, asked.max_batch_size))
    for number, batch in enumerate(every):
        for layout in sampling.LAYOUTS:
            where = f"{len(batch)} together, {layout}"
            output, *decisions = session.run(names, sampling.feeds(batch, layout))
            for case, seen in zip(batch, sampling.split(output, batch), strict=True):
                first = alone.setdefault(case.id, seen)
                before = furthest.get(case.id, case.expected)
                if distance(case.expected, seen, found.scale) >= distance(case.expected, before, found.scale):
                    furthest[case.id] = seen
                _note(rows[case.id], case, seen, first, where, found.scale)
            for decision in decisions:
                _note_decisions(rows, found, batch, decision, where)
        print(f"compared {number + 1}/{len(every)}", flush=True)  # noqa: T201
    if all(np.size(case.expected) == 1 and _are_numbers(case.expected) for case in found.cases):
        _compare_together(rows, found.cases, furthest)
    return list(rows.values())


def _compare_together(
    rows: Mapping[str, dict[str, Any]], cases: Sequence[Case], furthest: Mapping[str, Array]
) -> None:
    """Take the cosine over all cases where each is one number: of one alone it says no more than its sign."""
    seen = [float(np.ravel(furthest.get(case.id, case.expected))[0]) for case in cases]
    likeness = cosine(np.array([float(np.ravel(case.expected)[0]) for case in cases]), np.array(seen))
    for row in rows.values():
        row["cosine"] = likeness


def _note(
    row: dict[str, Any], case: Case, seen: Array, alone: Array, where: str, scale: Array | None
) -> None:
    error = distance(case.expected, seen, scale)
    likeness = cosine(case.expected, seen) if np.shape(case.expected) == np.shape(seen) else 0.0
    # not a number is worse than all, and numpy keeps it
    if not (error <= row["error"] or np.isnan(row["error"])):
        row["where"] = where
    row["error"] = float(np.maximum(row["error"], error))
    row["cosine"] = float(np.minimum(row["cosine"], likeness))
    row["drift"] = float(np.maximum(row["drift"], distance(alone, seen, scale)))


def _note_decisions(
    rows: Mapping[str, dict[str, Any]], found: Samples, batch: Sequence[Case], output: Array, where: str
) -> None:
    """Note a decision that is not the source's as an error beyond all numbers."""
    for case, seen in zip(batch, output.reshape(-1), strict=True):
        wanted = found.decided.get(case.id, seen)
        if seen != wanted:
            rows[case.id]["error"] = float("inf")
            rows[case.id]["where"] = f"{where}: {found.decision} {seen}, of the source {wanted}"


def likeness_kept(session: Any, sampling: Sampling, texts: Sequence[Case], main: str) -> float | None:
    """Return the rank correlation of all pairs' cosines, source against artifact; None without texts."""
    if len(texts) < 3:
        return None
    seen = [session.run([main], sampling.feeds([case], sampling.LAYOUTS[0]))[0][0] for case in texts]
    pairs = [(left, right) for left in range(len(texts)) for right in range(left)]
    return rank_correlation(
        [cosine(texts[left].expected, texts[right].expected) for left, right in pairs],
        [cosine(seen[left], seen[right]) for left, right in pairs],
    )


def load(model: Path, device: str) -> Any:
    """Return a session on `cpu` or `cuda`; raise ProofError where ONNX Runtime cannot use that device."""
    import onnxruntime

    if device != "cpu" and hasattr(onnxruntime, "preload_dlls"):
        # pip puts CUDA's libraries where no linker looks
        onnxruntime.preload_dlls(msvc=False)
    # a user's own choice holds, as it does where this is served
    for name, value in fused_attention.ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    wanted = _PROVIDERS[device]
    found = [name for name in wanted if name in onnxruntime.get_available_providers()]
    session = onnxruntime.InferenceSession(model, providers=found) if found == wanted else None
    # what does not start is left out, with a line in a log
    if session is None or not set(wanted) <= set(session.get_providers()):
        raise ProofError(
            f"{', '.join(wanted)} does not start in onnxruntime {onnxruntime.__version__}",
            expected="the device that the plan is for, since a proof on another says nothing about it",
            remedy="build on a machine with the GPU and with onnxruntime-gpu, or plan for a CPU",
        )
    return session


def main(request: Path) -> None:
    """Read an Asked as JSON; write proof.json and golden.json into its folder `out`."""
    told = json.loads(request.read_text(encoding="utf-8"))
    tolerance = told.pop("tolerance")
    batched = told.pop("batched")
    paths = {name: Path(told[name]) for name in ("model", "tokenizer", "source", "out")}
    asked = Asked(**{**told, **paths})
    sampling = cast(Sampling, house.plugin("proving.samples", asked.samples, option="samples"))
    found = sampling.samples(asked)
    session = load(asked.model / "model.onnx", asked.provider)
    rows = compare(session, sampling, found, asked)
    proof = {
        "rows": rows,
        "rank_correlation": likeness_kept(session, sampling, found.texts, asked.main),
        "reference": sampling.reference(asked),
        "layouts": list(sampling.LAYOUTS),
    }
    (asked.out / "proof.json").write_text(json.dumps(proof), encoding="utf-8")
    golden = {
        "format": 1,
        "kind": "single_pass",
        "model": asked.name,
        "pipeline": asked.pipeline,
        "tolerance": tolerance,
        **({} if found.scale is None else {"scale": {asked.main: found.scale.tolist()}}),
        "batched": batched,
        "max_batch_size": asked.max_batch_size,
        "asks": found.asks,
        "refuses": found.refuses,
    }
    text = json.dumps(golden, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    (asked.out / "golden.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

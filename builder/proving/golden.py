"""Answer the golden prompts with the raw artifact, greedily; run as `python -m builder.proving.golden`.

Imports nothing that runs inside Triton: it is the other witness. Chats are rendered by transformers,
tokens are chosen by argmax over the engine's raw logits.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from builder import house
from builder.proving import prompts

Logits = npt.NDArray[np.float32]

AGAIN = 4
"""Places of an answer that are asked for again."""

LIKELIEST = 20
"""Of how many tokens a witness tells then."""


def answer(model: Any, ids: list[int], most: int, ends: set[int]) -> tuple[list[int], list[Logits], str]:
    """Return the greedy ids, the logits each was chosen from, and `stop` or `length`.

    `model` offers `start(ids, tokens) -> logits[vocabulary]` and `append(id) -> logits[vocabulary]`.
    The id that ends the text is part of neither the ids nor their logits.
    """
    chosen: list[int] = []
    rows: list[Logits] = []
    logits = model.start(ids, most)
    while True:
        token = int(logits.argmax())
        if token in ends:
            return chosen, rows, "stop"
        chosen.append(token)
        rows.append(logits)
        if len(chosen) == most:
            return chosen, rows, "length"
        logits = model.append(token)


def gap(logits: Logits) -> float:
    """Return how far the best logit stands above the second."""
    first, second = best_two(logits)
    return float(logits[first] - logits[second])


def step(logits: Logits) -> float:
    """Return how far apart the numbers of an engine's 16-bit type are at its largest logit; 0.0 for float32.

    An engine that computes in bfloat16 or float16 hands on logits that were rounded to it: 7 and 10 stored
    bits of a fraction (IEEE 754 and its bfloat16 variant).
    """
    finite = logits[np.isfinite(logits)]
    exponent = int(np.floor(np.log2(max(float(np.abs(finite).max(initial=0.0)), 2.0**-14))))
    if not (finite.view(np.uint32) & 0xFFFF).any():
        return float(2.0 ** (exponent - 7))
    # what is too large for float16 comes back as infinite, and so as another number
    with np.errstate(over="ignore"):
        halves = finite.astype(np.float16).astype(np.float32)
    return float(2.0 ** (exponent - 10)) if np.array_equal(halves, finite) else 0.0


def epsilon(rows: Sequence[Logits]) -> float:
    """Return up to which gap between two logits either may be chosen.

    Rounding may put each of the two one step of its type off, so two steps tell nothing about which is best.
    """
    return max([prompts.EPSILON, *(2 * step(row) for row in rows)])


def likeliest(logits: Logits) -> dict[int, float]:
    """Return the ids of the largest logits with these."""
    count = min(LIKELIEST, len(logits))
    best = np.argpartition(logits, -count)[-count:]
    return {int(token): float(logits[token]) for token in best}


def best_two(logits: Logits) -> tuple[int, int]:
    """Return the ids of the best logit and of the second."""
    second, first = np.argpartition(logits, -2)[-2:]
    return int(first), int(second)


def unsteadiness(model: Any, ids: list[int], chosen: list[int], rows: Sequence[Logits]) -> float:
    """Return by how much the gap between the best two logits changes, at most, when they are asked for again.

    An engine adds up in another order for a batch, or for a text that it reads in one piece, and rounds
    otherwise; that of int4 weights rounds what it multiplies them with to int8 for some of these, on some
    processors. A `model` that may do so offers `again(prompts) -> [{id: logit}, ...]`, the likeliest behind
    each of the prompts, asked in such another way; for others it is 0.

    Args:
        chosen: the answer to `ids`, each from one of `rows`, step by step.
    """
    if not hasattr(model, "again"):
        return 0.0
    places = range(len(chosen) - 1, 0, -max(1, len(chosen) // AGAIN))
    changes = [0.0]
    asked = [ids + chosen[:place] for place in places]
    for row, found in zip([rows[place] for place in places], model.again(asked), strict=True):
        first, second = best_two(row)
        # what is not told is no likelier than the last that is
        least = min(found.values())
        gap_again = found.get(first, least) - found.get(second, least)
        changes.append(abs(gap_again - gap(row)))
    return max(changes)


def main(request: Path) -> None:
    """Read {model, tokenizer, witness, arguments, name, ends, out}; write golden.json and logits/<id>.npy."""
    asked = json.loads(request.read_text(encoding="utf-8"))
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(asked["tokenizer"])
    witness = house.plugin("proving", asked["witness"], option="witness")
    model = witness.load(Path(asked["model"]), asked["arguments"])
    out = Path(asked["out"])
    (out / "logits").mkdir(parents=True)
    asked_prompts, most = prompts.load()
    rows, near = [], prompts.EPSILON
    for prompt in asked_prompts:
        text, ids = _encode(tokenizer, prompt)
        if ids is None:
            continue
        chosen, logits, reason = answer(model, ids, most, set(asked["ends"]))
        # twice the largest of those few seen: there are other batches, and longer answers
        near = max(near, epsilon(logits), 2 * unsteadiness(model, ids, chosen, logits))
        np.save(out / "logits" / f"{prompt.id}.npy", np.stack(logits) if logits else np.zeros((0, 1)))
        rows.append(
            {
                "id": prompt.id,
                "text": text,
                "messages": list(prompt.messages) if prompt.messages else None,
                "input_ids": ids,
                "output_ids": chosen,
                "output_text": tokenizer.decode(
                    chosen, skip_special_tokens=True, clean_up_tokenization_spaces=False
                ).rstrip("\ufffd"),
                "finish_reason": reason,
                "max_tokens": most,
                "gaps": [round(gap(row), 4) for row in logits],
            }
        )
        print(f"golden {len(rows)}/{len(asked_prompts)} {prompt.id}", flush=True)  # noqa: T201
    near = math.ceil(round(100 * near, 6)) / 100
    golden = {"format": 1, "model": asked["name"], "epsilon": near, "prompts": rows}
    (out / "golden.json").write_text(
        json.dumps(golden, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def _encode(tokenizer: Any, prompt: prompts.Prompt) -> tuple[str, list[int] | None]:
    if prompt.messages is None:
        return prompt.text or "", list(tokenizer(prompt.text)["input_ids"])
    if tokenizer.chat_template is None:
        return "", None
    try:
        rendered = tokenizer.apply_chat_template(
            list(prompt.messages), tokenize=False, add_generation_prompt=True
        )
    except Exception:  # a template may refuse a role (Mistral 7B v0.1 knows no system turn)
        return "", None
    return rendered, list(tokenizer(rendered, add_special_tokens=False)["input_ids"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))

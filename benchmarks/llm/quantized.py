"""The parts that race a quantised model with the one whose weights it has, and what they say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from workbench import numbers
from workbench.deployment import Deployment

from llm import checks, contests, models
from llm.contenders import Served
from llm.contests import Keep
from llm.figures import keyed, values
from llm.models import QUANTIZED, Built, Model
from llm.racing import race
from llm.stage import Stage
from llm.trials import CLOSED, CLOSED_TRIALS

LEVELS = (1, 256)
PLAIN = "bf16"


def beside_plain(stage: Stage, model: Model, keep: Keep) -> None:
    """Verify a quantised model, and race it with the other, each on a server of its own."""
    plain, rounded = models.built(stage, models.MODELS[model.weights]), models.built(stage, model)
    with ExitStack() as open_ones:
        others, _ = open_ones.enter_context(_served(stage, plain, PLAIN))
        ours, server = open_ones.enter_context(_served(stage, rounded, str(model.quantize)))
        verified = checks.verified(server, model.name)

        def kept(found: Mapping[str, Any]) -> None:
            keep({**found, "verify": verified})

        trials = contests.loads(stage, tuple(one for one in CLOSED_TRIALS if one.level in LEVELS))
        race(stage, [(one, trials) for one in (others, ours)], contests.keeping(kept, rounded))


@contextmanager
def _served(stage: Stage, built: Built, called: str) -> Iterator[tuple[Served, Deployment]]:
    with (
        contests.serving(stage, built) as server,
        contests.doors(server, built, "grpc", called=called) as (contender,),
    ):
        yield contender, server


def figures(parts: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return tokens/s over those in bfloat16, and what `builder verify` found, of the parts there are."""
    found: dict[str, float] = {}
    by_name = {part["part"]: part for part in parts}
    for model in QUANTIZED:
        if model.name not in by_name:
            continue
        part = by_name[model.name]
        rows = keyed(part)
        for level in LEVELS:
            ours, plain = (rows.get((row, CLOSED, level, "chats")) for row in (model.quantize, PLAIN))
            if ours and plain:
                rates = [values(row, "tokens_per_second") for row in (ours, plain)]
                found[f"{model.quantize}_over_bf16_{model.weights}_c{level}"] = numbers.paired_ratio(*rates)
        if "verify" in part:
            counts = part["verify"]["counts"]
            found[f"{model.quantize}_verify_failed_{model.weights}"] = float(counts["failed"])
    return found

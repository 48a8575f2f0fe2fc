"""The parts that race: two engines at a time stand on the GPU, so that each pair plays the same minutes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from encoder import gpu_memory
from workbench import deployment
from workbench.deployment import Deployment

from llm import asking, models
from llm.contenders import Served
from llm.models import Built, Model
from llm.prompts import Encoding
from llm.racing import Row, race
from llm.raw import Raw
from llm.stage import Stage
from llm.trials import BATCH_TRIALS, CLOSED_TRIALS, PREFIX_TRIALS, RAW_TRIALS, Trial, rehearsed
from llm.vllm_serve import VARIANTS, Server

Keep = Callable[[Mapping[str, Any]], None]
"""Writes what a part has found so far."""

SECONDS_TO_SERVE = "300"
QUERIED = "builder_engine_prefix_queried_tokens_total"
FOUND = "builder_engine_prefix_found_tokens_total"


def against_raw(stage: Stage, model: Model, keep: Keep) -> None:
    """Race our two doors with the raw engine."""
    built = models.built(stage, model)
    with ExitStack() as stack:
        served = stack.enter_context(serving(stage, built))
        raw = stack.enter_context(Raw(stage, built))
        raw.hello()
        grpc, http = stack.enter_context(doors(served, built, "grpc", "http"))
        players = [
            (grpc, loads(stage, (*CLOSED_TRIALS, *BATCH_TRIALS))),
            (raw, loads(stage, (*CLOSED_TRIALS, *RAW_TRIALS))),
            (http, loads(stage, CLOSED_TRIALS)),
        ]
        race(stage, players, keeping(keep, built))


def against_serve(stage: Stage, model: Model, variant: str, keep: Keep) -> None:
    """Race our gRPC door with vLLM's own server."""
    stage.require_engine()
    built = models.built(stage, model)
    with ExitStack() as stack:
        served = stack.enter_context(serving(stage, built))
        peer = stack.enter_context(Server(stage, built, VARIANTS[variant]))
        peer.wait()
        (grpc,) = stack.enter_context(doors(served, built, "grpc"))
        theirs = stack.enter_context(_peer(peer, built))
        players = [(one, loads(stage, CLOSED_TRIALS)) for one in (grpc, theirs)]
        race(stage, players, keeping(keep, built))


def prefixes(stage: Stage, model: Model, keep: Keep) -> None:
    """Ask long prompts that begin alike, and others that do not; of a rehearsal only ours."""
    built = models.built(stage, model)
    with ExitStack() as stack:
        served = stack.enter_context(serving(stage, built))
        (grpc,) = stack.enter_context(doors(served, built, "grpc"))
        players = [grpc]
        if not stage.rehearses:
            peer = stack.enter_context(Server(stage, built, VARIANTS["vllm_serve"]))
            peer.wait()
            players.append(stack.enter_context(_peer(peer, built)))
        trials = loads(stage, PREFIX_TRIALS)

        def counted(row: Row) -> Callable[[], Mapping[str, Any]]:
            if row.contender is not grpc:
                return dict
            before = deployment.metrics(served, model.name)

            def found() -> Mapping[str, Any]:
                now = deployment.metrics(served, model.name)
                return {"prefix_hit_share": hit_share(before, now)}

            return found

        race(stage, [(one, trials) for one in players], keeping(keep, built), counted)


def hit_share(before: Mapping[str, float], after: Mapping[str, float]) -> float | None:
    """Return the share of prompt tokens that the prefix cache held, None where nobody looked."""
    queried, found = (after.get(name, 0.0) - before.get(name, 0.0) for name in (QUERIED, FOUND))
    return round(found / queried, 4) if queried else None


@contextmanager
def serving(stage: Stage, built: Built) -> Iterator[Deployment]:
    """Serve a repository as its user would."""
    stage.require_engine()
    with deployment.serve(built.repository, more=["--timeout", SECONDS_TO_SERVE]) as served:
        yield served


@contextmanager
def doors(served: Deployment, built: Built, *names: str, called: str = "") -> Iterator[Sequence[Served]]:
    """Give a contender for each way to ask our server, named like the way or `called` otherwise."""
    encoding = Encoding(built.tokenizer)

    def door(name: str) -> Served:
        def how(tokens: int) -> Any:
            return asking.ours(served, built.model.name, name, tokens)

        return Served(called or name, served.pid, how, encoding)

    with ExitStack() as stack:
        yield [stack.enter_context(door(name)) for name in names]


def _peer(peer: Server, built: Built) -> Served:
    def how(tokens: int) -> Any:
        return asking.openai(peer.url, built.model.name, tokens)

    return Served(peer.name, peer.pid, how, Encoding(built.tokenizer))


def loads(stage: Stage, trials: tuple[Trial, ...]) -> tuple[Trial, ...]:
    return rehearsed(trials) if stage.rehearses else trials


def keeping(keep: Keep, built: Built) -> Callable[[list[Row]], None]:
    def kept(rows: list[Row]) -> None:
        held = {pid: gpu_memory.megabytes(pid) for pid in {row.contender.pid for row in rows}}
        for row in rows:
            row.gpu_mb = held[row.contender.pid]
        keep({"rows": [row.to_json(built.model.name) for row in rows], "engine_arguments": built.arguments})

    return kept

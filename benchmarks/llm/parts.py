"""What one call does: the parts of a run, each of which fits into it and leaves a record of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llm import ceiling, checks, contests, models, quantized
from llm.contests import Keep
from llm.models import QUANTIZED, RANDOM_8B, SMOLLM2, Model
from llm.stage import Stage
from llm.vllm_serve import VARIANTS

Run = Callable[[Stage, Keep], None]


@dataclass(frozen=True)
class Part:
    """One call's work; `kind` says whom it measures and `needs` which parts must have run before."""

    name: str
    about: str
    run: Run
    needs: tuple[str, ...] = ()


def _checkpoint(stage: Stage, keep: Keep) -> None:
    keep({"made": str(models.make_checkpoint(stage, RANDOM_8B).name)})


def _build(model: Model) -> Part:
    def run(stage: Stage, keep: Keep) -> None:
        stage.require_engine()
        keep({"engine_arguments": models.build(stage, model).arguments})

    needs = (f"checkpoint-{model.weights}",) if model.shape else ()
    return Part(f"build-{model.name}", "`builder build`, with its proof", run, needs)


def _raw(model: Model) -> Part:
    def run(stage: Stage, keep: Keep) -> None:
        contests.against_raw(stage, model, keep)

    return Part(f"{model.name}-raw", "gRPC and HTTP beside the raw engine", run, _built(model))


def _serve(model: Model, variant: str) -> Part:
    def run(stage: Stage, keep: Keep) -> None:
        contests.against_serve(stage, model, variant, keep)

    ending = variant.removeprefix("vllm_").replace("_", "-")
    return Part(f"{model.name}-{ending}", f"gRPC beside {variant}", run, _built(model))


def _prefixes(model: Model) -> Part:
    def run(stage: Stage, keep: Keep) -> None:
        contests.prefixes(stage, model, keep)

    return Part(
        f"{model.name}-prefix", "prompts of 1,000 tokens, 900 of them shared or not", run, _built(model)
    )


def _right(model: Model) -> Part:
    def run(stage: Stage, keep: Keep) -> None:
        checks.right(stage, model, keep)

    return Part(f"{model.name}-checks", "ids, scores and `builder verify`", run, _built(model))


def _soak(model: Model) -> Part:
    def run(stage: Stage, keep: Keep) -> None:
        checks.soak(stage, model, keep)

    return Part(f"{model.name}-soak", "10,000 visits, some of which end in the middle", run, _built(model))


def _verify(stage: Stage, keep: Keep) -> None:
    checks.verify(stage, SMOLLM2, "onnx", keep)


def _quantized(model: Model) -> tuple[Part, ...]:
    def run(stage: Stage, keep: Keep) -> None:
        quantized.beside_plain(stage, model, keep)

    needs = tuple(f"build-{name}" for name in (model.weights, model.name))
    about = f"{model.quantize} beside bf16 at 1 and 256, and `builder verify`"
    return _build(model), Part(model.name, about, run, needs)


def _built(model: Model) -> tuple[str, ...]:
    return (f"build-{model.name}",)


def _of(model: Model) -> tuple[Part, ...]:
    return (_raw(model), *(_serve(model, variant) for variant in VARIANTS), _right(model))


PARTS = (
    Part("ceiling", "how fast the load generator alone hears", ceiling.part),
    _build(SMOLLM2),
    *_of(SMOLLM2),
    _soak(SMOLLM2),
    Part("smollm2-onnx", "`builder verify` of ONNX on CUDA", _verify),
    Part("checkpoint-8b", "random weights", _checkpoint, ("build-smollm2",)),
    _build(RANDOM_8B),
    *_of(RANDOM_8B),
    _prefixes(RANDOM_8B),
    *(part for model in QUANTIZED for part in _quantized(model)),
)

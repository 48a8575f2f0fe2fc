"""vLLM: token ids in and out; its engine core is yet another process, so that steps overlap with all of this.

Written for and tried with vLLM 0.22, whose synchronous LLMEngine is what `vllm.LLM` drives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from backends.engine import vllm_scheduler
from backends.engine.hosted import Hosted
from backends.engine.protocol import Guide, InvalidRequest, Sampling, Top
from backends.engine.stepper import Gauges, Progress

UNSUPPORTED = frozenset({"beam_width", "length_penalty"})
NOT_BESIDE_GUESSES = frozenset({"min_p", "logit_bias"})
"""What vLLM does not take where it guesses tokens ahead (0.22, SamplingParams._validate_spec_decode)."""

_GUIDES = {"json_schema": "json", "regex": "regex", "ebnf_grammar": "grammar"}
"""Kind of a Guide -> the field of vllm's StructuredOutputsParams that takes its text."""

_SCHEDULER = f"{vllm_scheduler.__name__}.{vllm_scheduler.scheduler.__name__}"

_REASONS = {"stop": "stop", "length": "length", "abort": "cancelled"}


def create(settings: Mapping[str, Any], folder: Path) -> Hosted:
    """Start vLLM in a process of its own, told engine_arguments."""
    return Hosted("vllm", unsupported(settings["engine_arguments"]), settings, folder)


def unsupported(arguments: Mapping[str, Any]) -> frozenset[str]:
    """Return the inputs that an engine cannot honour that is told these engine_arguments."""
    guesses = any(arguments.get(name) for name in ("speculative_config", "spec_method", "spec_model"))
    found = UNSUPPORTED | (NOT_BESIDE_GUESSES if guesses else frozenset())
    # told to serve whoever came first it would ignore priorities
    return found if arguments.get("scheduling_policy") == "priority" else found | {"priority"}


def stepper(settings: Mapping[str, Any], folder: Path) -> Vllm:
    """Load the checkpoint at `folder`/settings["model"]; engine_arguments are fields of vllm.EngineArgs."""
    from vllm import EngineArgs, LLMEngine

    model = str(folder / settings["model"])
    told = {"scheduler_cls": _SCHEDULER, **located(settings["engine_arguments"], folder)}
    arguments = EngineArgs(model=model, tokenizer=str(folder / "tokenizer"), **told)
    adapters = {name: folder / path for name, path in settings.get("adapters", {}).items()}
    return Vllm(LLMEngine.from_engine_args(arguments), adapters)


class Statistics:
    """What the engine core says of itself with each step, in the place of vLLM's own loggers.

    Those observe dozens of Prometheus metrics at every step, which at steps of a millisecond is time that
    the answers need. `record` and `log` have the signatures of vllm.v1.metrics.loggers.StatLoggerManager.
    """

    def __init__(self) -> None:
        self.gauges = Gauges()

    def record(self, scheduler_stats: Any, iteration_stats: Any, **_: Any) -> None:
        """Keep what the scheduler counted; its prefix counts are those since the step before."""
        found = scheduler_stats.prefix_cache_stats
        self.gauges = Gauges(
            running=scheduler_stats.num_running_reqs,
            waiting=scheduler_stats.num_waiting_reqs + scheduler_stats.num_skipped_waiting_reqs,
            cache_used=scheduler_stats.kv_cache_usage,
            prefix_queries=self.gauges.prefix_queries + found.queries,
            prefix_hits=self.gauges.prefix_hits + found.hits,
        )

    def log(self) -> None:
        """Say nothing: the front publishes the gauges."""


@dataclass
class _Running:
    """A sequence inside vLLM."""

    asked: Sampling
    begun: bool = False


class Vllm:
    """The Stepper of vLLM; see Stepper."""

    def __init__(self, engine: Any, adapters: Mapping[str, Path] = MappingProxyType({})) -> None:
        """Load the adapters, by their names, so that one that cannot be served ends the start."""
        self._engine = engine
        self._adapters = _loaded(engine, adapters)
        self._statistics = engine.logger_manager = Statistics()
        self._running: dict[str, _Running] = {}

    @property
    def busy(self) -> bool:
        return bool(self._running)

    def add(self, key: int, ids: Sequence[int], sampling: Sampling) -> None:
        """Take a sequence; see Stepper.add."""
        self._take(key, ids, sampling, parameters(sampling))

    def score(self, key: int, ids: Sequence[int]) -> None:
        """Take a prompt; see Stepper.score."""
        given = {"max_tokens": 1, "prompt_logprobs": 0, "detokenize": False}
        self._take(key, ids, Sampling(max_tokens=1), given)

    def abort(self, keys: Sequence[int]) -> None:
        """End sequences."""
        known = [str(key) for key in keys if self._running.pop(str(key), None) is not None]
        if known:
            self._engine.abort_request(known)

    def step(self) -> list[Progress]:
        """Wait for the engine core and return what it made of each sequence."""
        outputs = self._engine.step()
        return [self._progress(output) for output in outputs if output.request_id in self._running]

    def wake(self) -> None:
        """Put a step's empty outputs among those of the engine core."""
        from vllm.v1.engine import EngineCoreOutputs

        self._engine.engine_core.outputs_queue.put_nowait(EngineCoreOutputs())

    def gauges(self) -> Gauges:
        """Return the numbers as of the last step; of an idle engine nothing runs, nor holds cache."""
        gauges = self._statistics.gauges
        return gauges if self._running else replace(gauges, running=0, waiting=0, cache_used=0.0)

    def close(self) -> None:
        """End the engine core."""
        self._engine.engine_core.shutdown()

    def _take(self, key: int, ids: Sequence[int], sampling: Sampling, given: Mapping[str, Any]) -> None:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        told = {**given, "output_kind": RequestOutputKind.DELTA}
        try:
            if told.get("structured_outputs"):
                told["structured_outputs"] = StructuredOutputsParams(**told["structured_outputs"])
            asked = SamplingParams(**told)
            # vLLM leaves out a spelling that is longer or shorter than the one before it (0.22,
            # SamplingParams.update_from_tokenizer): it is given ids, and spells nothing
            asked._bad_words_token_ids = [list(word) for word in sampling.bad_ids] or None
            # of this request alone: to copy them deeply takes longer than all the rest of taking it
            asked.skip_clone = True
            # the type says that nothing is left to tokenize, and spares it the way there
            prompt = {"type": "token", "prompt_token_ids": list(ids)}
            self._engine.add_request(
                str(key),
                prompt,
                asked,
                lora_request=self._adapters.get(sampling.adapter),
                priority=sampling.priority,
            )
        except (ValueError, TypeError) as error:
            raise InvalidRequest(f"engine vllm does not take this: {error}") from error
        self._running[str(key)] = _Running(sampling)

    def _progress(self, output: Any) -> Progress:
        """Return what vLLM's RequestOutput says; a score has the prompt's log probabilities, and no ids."""
        (made,) = output.outputs
        key, ids, running = int(output.request_id), tuple(made.token_ids), self._running[output.request_id]
        found, tops = _log_probs(made, running.asked), _tops(made, running.asked)
        waited, running.begun = None if running.begun else _waited(output), True
        if output.prompt_logprobs is not None:
            ids, found = (), _of_prompt(output)
        if made.finish_reason is None:
            return Progress(key, ids, found, waited=waited, tops=tops)
        del self._running[output.request_id]
        if made.finish_reason not in _REASONS:
            return Progress(key, failure=("EngineError", f"engine vllm ended it: {made.finish_reason}"))
        if made.finish_reason == "stop" and ids and ids[-1] in running.asked.end_ids:
            ids, found, tops = ids[:-1], found[:-1], tops[:-1]
        return Progress(key, ids, found, _REASONS[made.finish_reason], waited=waited, tops=tops)


def located(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the arguments with a draft that lies in the version's folder by its whole path."""
    told = arguments.get("speculative_config") or {}
    draft = folder / str(told.get("model", ""))
    if "model" not in told or not draft.is_dir():
        return dict(arguments)
    return {**arguments, "speculative_config": {**told, "model": str(draft)}}


def _loaded(engine: Any, adapters: Mapping[str, Path]) -> dict[str, Any]:
    """Return name -> the LoRARequest that vLLM knows an adapter by, once it has read it."""
    if not adapters:
        return {}
    from vllm.lora.request import LoRARequest

    found = {}
    for number, (name, folder) in enumerate(adapters.items(), 1):
        found[name] = LoRARequest(lora_name=name, lora_int_id=number, lora_path=str(folder))
        engine.add_lora(found[name])
    return found


def parameters(sampling: Sampling) -> dict[str, Any]:
    """Return the arguments of vllm.SamplingParams that mean the same (vLLM 0.22, sampling_params.py).

    vLLM stops at ids that it is told, never at those of the checkpoint's own files: the front has read them.
    """
    return {
        "max_tokens": sampling.max_tokens,
        "min_tokens": sampling.min_tokens,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "seed": sampling.seed,
        "logit_bias": dict(sampling.logit_bias) or None,
        "stop_token_ids": sorted(sampling.end_ids),
        "ignore_eos": True,
        # that of the chosen token comes in any case
        "logprobs": sampling.top_log_probs if sampling.log_probs or sampling.top_log_probs else None,
        "structured_outputs": _guided(sampling.guide),
        "detokenize": False,
    }


def _guided(guide: Guide | None) -> dict[str, Any] | None:
    if guide is None:
        return None
    return {"json_object": True} if guide.kind == "json" else {_GUIDES[guide.kind]: guide.text}


def _waited(output: Any) -> float | None:
    """Return the seconds in vLLM's line; its RequestStateStats are None where nothing is recorded."""
    return None if output.metrics is None else output.metrics.scheduled_ts - output.metrics.queued_ts


def _log_probs(made: Any, asked: Sampling) -> tuple[float, ...]:
    if not asked.log_probs:
        return ()
    return tuple(by_id[token].logprob for token, by_id in zip(made.token_ids, made.logprobs, strict=True))


def _tops(made: Any, asked: Sampling) -> tuple[Top, ...]:
    """Return the likeliest of every position, where vLLM puts the chosen token first, likely or not."""
    if not asked.top_log_probs:
        return ()
    return tuple(
        tuple(sorted(((token, one.logprob) for token, one in by_id.items()), key=lambda pair: -pair[1]))[
            : asked.top_log_probs
        ]
        for by_id in made.logprobs
    )


def _of_prompt(output: Any) -> tuple[float, ...]:
    pairs = zip(output.prompt_token_ids, output.prompt_logprobs, strict=True)
    return tuple(by_id[token].logprob for token, by_id in pairs if by_id is not None)

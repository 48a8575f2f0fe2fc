"""Who names an adapter is answered by it, and by nothing else."""

from __future__ import annotations

from builder.golden import GoldenPrompt
from builder.subject import Skipped, Subject, expect

ORDER = 90
SCOPE = "generation"

TOKENS = 8
SAME = 1e-4
"""Log probabilities nearer than this are the same: no training leaves so little."""


def adapters_answer_by_name(subject: Subject) -> str:
    """Every adapter answers otherwise than the model alone, which answers the next request itself."""
    names = list(subject.settings.get("adapters", {}))
    if not names:
        raise Skipped("this deployment has no adapters")
    prompt = subject.prompt()
    alone = _answer(subject, prompt, "")
    for name in names:
        expect(
            _differ(_answer(subject, prompt, name), alone),
            f"lora_name {name!r} answers as the model alone does: it was not asked, or it was never trained",
        )
        subject.still_works()
    return ", ".join(names)


def unknown_adapter_is_refused(subject: Subject) -> str:
    """An adapter that this deployment does not have is refused by its name, not answered by the model."""
    name = "-".join(["none-of", *subject.settings.get("adapters", {})])
    inputs = subject.inputs(subject.prompt(), max_tokens=2, lora_name=name)
    return subject.refuses({f"lora_name {name}": (inputs, ("lora_name", name))})


def _answer(subject: Subject, prompt: GoldenPrompt, adapter: str) -> list[tuple[int, float]]:
    """Return ids and log probabilities."""
    asked = {"lora_name": adapter} if adapter else {}
    inputs = subject.inputs(prompt, max_tokens=TOKENS, return_log_probs=True, **asked)
    answer = subject.ask(inputs)
    return list(zip(answer.ids(), map(float, answer.values("output_log_probs")), strict=True))


def _differ(answer: list[tuple[int, float]], alone: list[tuple[int, float]]) -> bool:
    if [token for token, _ in answer] != [token for token, _ in alone]:
        return True
    return any(abs(one - other) > SAME for (_, one), (_, other) in zip(answer, alone, strict=True))

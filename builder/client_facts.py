"""Client facts: what a front's config.pbtxt tells clients beyond its tensors, as parameters.

Clients such as the gateway have no tokenizer and no template: they ask Triton for the configuration alone.
What an engine does not support is not among these: it depends on the library that serves, and the front
refuses such an input by its name.
"""

from __future__ import annotations

from pathlib import Path

from builder import contract, tool_format
from builder.plan import Plan

TASK = "task"
CHAT = "chat"
CONTEXT = "context_length"
TOOLS = "tool_format"
ADAPTERS = "adapters"

NAMES = (TASK, CHAT, CONTEXT, TOOLS, ADAPTERS)


def of(plan: Plan, tokenizer: Path) -> dict[str, str]:
    """Return the parameters of the front, none where its form is NVIDIA's or a graph's own.

    Args:
        plan: the deployment.
        tokenizer: the folder that the front will read its chat template from.
    """
    if plan.kind != "generation":
        return {TASK: plan.pipeline} if plan.front.member.steps else {}
    if plan.contract != contract.USUAL:
        return {}
    path = tokenizer / "chat_template.jinja"
    template = path.read_text(encoding="utf-8") if path.is_file() else None
    form = tool_format.of(template) if template is not None else ""
    return {
        TASK: plan.pipeline,
        CHAT: "false" if template is None else "true",
        CONTEXT: str(plan.memory.context),
        **({TOOLS: form} if form else {}),
        **({ADAPTERS: ",".join(one.name for one in plan.adapters)} if plan.adapters else {}),
    }

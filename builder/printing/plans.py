"""A plan for people: the device, the memory, the models and their tensors."""

from __future__ import annotations

import json
import textwrap

import click

from builder import compiling, contract
from builder.architecture import Dimensions, MixtureDimensions
from builder.deploying import launching, several_hosts
from builder.ensemble import Tensor
from builder.plan import Plan
from builder.planning import hosts
from builder.planning.models import ModelPlan
from builder.planning.resolving import Resolution
from builder.planning.versions import Container
from builder.printing import mixtures, tables
from builder.speculation import Speculation
from builder.target import Compilation
from builder.weight_format import Stored

NEWER_SHOWN = 3


def show(plan: Plan) -> None:
    """Print everything that a build would write, and what it would need."""
    where = f"{plan.split.gpus} x {plan.gpu.title}" if plan.gpu else "CPU"
    click.echo(f"{plan.name}: {plan.origin} ({plan.model_type}, {plan.dimensions.parameters:,} parameters)")
    click.echo(f"  runs on    {where}, target {plan.target}, {plan.quantize}, engine {plan.engine}")
    if plan.split.hosts > 1:
        click.echo(f"  hosts      {_hosts(plan)}")
    if plan.stored:
        click.echo(f"  weights    {plan.stored.scheme}")
    if plan.speculation:
        click.echo(f"  guesses    {_guesses(plan.speculation)}")
    if plan.engine_why:
        click.echo(f"  because    {plan.engine}: {plan.engine_why}")
    click.echo(f"  server     Triton {plan.container.triton} ({plan.container.tag}); {_at_once(plan)}")
    if plan.resolution:
        _show_resolution(plan.resolution, plan.container)
    promised = contract.load(plan.contract, plan.target)
    if promised.IMAGE:
        click.echo(f"  contract   {plan.contract}: served by {plan.container.sort(promised.IMAGE)} alone")
    if not plan.weights_at_hand:
        click.echo(
            "  checkpoint not here yet: these are its published dimensions; --checkpoint PATH overrides"
        )
    click.echo()
    tables.show("Memory" + (" on each GPU" if plan.gpu else ""), ("what", "size", "how"), _memory(plan))
    if plan.mixture:
        mixtures.show(plan.mixture, plan.memory)
    tables.show(
        "Models that would be written",
        ("model", "version", "runs on", "max batch", "dynamic batching", "why"),
        [_model(model) for model in plan.models],
    )
    if plan.engine_arguments:
        told = [(name, json.dumps(value)) for name, value in plan.engine_arguments.items()]
        heading = (
            "What the engine is built and run with" if plan.compilation else f"What {plan.engine} is told"
        )
        tables.show(heading, ("name", "value"), told)
    if plan.compilation is not None:
        _show_engine(plan.compilation)
        _show_launch(plan)
    for model in plan.models:
        rows = [("in", *_tensor(tensor)) for tensor in model.inputs]
        rows += [("out", *_tensor(tensor)) for tensor in model.outputs]
        tables.show(f"{model.name}: tensors", ("", "name", "type", "dims", ""), rows)


def _show_resolution(found: Resolution, box: Container) -> None:
    size = box.contents(found.image.removeprefix(box.sort(""))).size
    click.echo(f"  image      {found.image}{f' ({size:g} GB)' if size else ''}: {found.why}")
    for tag, reason in found.newer[-NEWER_SHOWN:]:
        click.echo(f"             not {tag}: {reason}")
    if len(found.newer) > NEWER_SHOWN:
        more = len(found.newer) - NEWER_SHOWN
        click.echo(f"             nor {more} newer ones (`builder doctor --target`)")


def _show_engine(compilation: Compilation) -> None:
    shapes = [
        (name, *("x".join(map(str, bounds[bound])) for bound in ("min", "opt", "max")))
        for name, bounds in (compilation.profile or {}).items()
    ]
    if shapes:
        tables.show(
            f"Engine for compute capability {compilation.compute}: shapes of its inputs",
            ("input", "least", "usual", "largest"),
            shapes,
        )
    where = (
        "in the folder of the graph" if compilation.profile is not None else f"beside {compilation.source}"
    )
    click.echo(f"Built after the proof, {where}, by")
    click.echo(textwrap.indent(compiling.shell(compilation), "  ") + "\n")


def _show_launch(plan: Plan) -> None:
    """Print the command of the server where the engine is a model of its own."""
    if plan.compilation is None or plan.compilation.profile is not None:
        return
    server = launching.tritonserver(exit_timeout=launching.EXIT_TIMEOUT, exit_on_error=True)
    ranks = several_hosts.ranks(plan, plan.compilation)
    where = f", on all of {ranks.hosts} hosts" if ranks.hosts > 1 else ""
    click.echo(f"Served in {plan.compilation.image}, the repository at {contract.MODELS}{where}, by")
    click.echo(textwrap.indent(launching.shell(server, ranks), "  ") + "\n")
    if plan.hosts:
        click.echo(f"where {hosts.FILE} holds")
        click.echo(textwrap.indent(hosts.file(plan.hosts, plan.split.gpus_per_host), "  "))


def _hosts(plan: Plan) -> str:
    """Say what each host has, and whether every layer crosses the network between them."""
    split, found = plan.split, plan.memory
    each = split.gpus_per_host
    weights = hosts.weights(found, split)
    most = "" if len(set(weights)) == 1 else "up to "
    sizes = f"{most}{tables.size(max(weights))} of weights, {tables.size(found.cache * each)} of KV cache"
    crossing = (
        "" if each % split.tensor == 0 else "; the GPUs of --tp are on several: every layer waits for them"
    )
    return f"{split.hosts} of {each} GPU{'s' * (each > 1)} each: {sizes} on each{crossing}"


def _at_once(plan: Plan) -> str:
    if plan.kind == "generation":
        load = f"{plan.concurrency} requests at once, {plan.memory.context} tokens each at the most"
        fitting = plan.memory.sequences
        return load if fitting >= plan.concurrency else f"{load}, {fitting} if all are that long"
    longest = f" of at most {plan.memory.context} tokens" if plan.memory.context > 1 else ""
    too_long = ", longer ones are " + ("cut" if plan.truncates else "refused") if longest else ""
    most = plan.front.member.max_batch_size
    batches = f"batches of up to {most}" if most else "one at a time"
    return f"{plan.pipeline}, {batches}{longest}{too_long}"


def _memory(plan: Plan) -> list[tuple[str, str, str]]:
    memory = plan.memory
    weights = f"{_lying(plan.stored) if plan.stored else plan.quantize}, {plan.split.gpus} part(s)"
    drafted = plan.speculation is not None and plan.speculation.draft is not None
    weights += ", the draft's too" if drafted else ""
    rows = [("weights", tables.size(memory.weights), weights + _experts(plan))]
    if isinstance(plan.dimensions, Dimensions):
        rows += _cache(plan, plan.dimensions)
    else:
        longest = f" of {memory.context} tokens" if memory.context > 1 else ""
        rows.append(
            ("activations", tables.size(memory.activations), f"a batch of {memory.sequences} rows{longest}")
        )
    if memory.adapters:
        names = ", ".join(f"{one.name} (rank {one.rank})" for one in plan.adapters)
        rows.append(("adapters", tables.size(memory.adapters), names))
    if memory.runtime:
        own = (
            "CUDA context, kernels, workspaces"
            if plan.gpu
            else "interpreter, libraries, buffers of the engine"
        )
        rows.append(("runtime", tables.size(memory.runtime), own))
    total = f"of {tables.size(memory.total)}" if memory.total else "when every sequence is at its longest"
    return [*rows, ("all", tables.size(memory.used), total)]


def _experts(plan: Plan) -> str:
    """Say which experts a part has, where groups of GPUs share them out."""
    if plan.split.experts == 1 or not isinstance(plan.dimensions, MixtureDimensions):
        return ""
    each, over = plan.dimensions.experts // plan.split.experts, plan.split.expert_tensor
    found = f", {each} of the {plan.dimensions.experts} experts in each"
    return f"{found}, parted over {over}" if over > 1 else found


def _guesses(asked: Speculation) -> str:
    if asked.draft is None:
        shortest, longest = asked.ngram or (0, 0)
        return f"{asked.tokens} tokens a step, by passages of {shortest} to {longest} tokens of its own text"
    sizes = f"{asked.draft.model_type}, {asked.draft.dimensions.parameters:,} parameters"
    return f"{asked.tokens} tokens a step, by {asked.draft.origin} ({sizes})"


def _lying(stored: Stored) -> str:
    return (
        "as they lie in the checkpoint" if stored.weight_bytes else f"about {stored.bits:.2f} bits a weight"
    )


def _cache(plan: Plan, dimensions: Dimensions) -> list[tuple[str, str, str]]:
    memory = plan.memory
    heads = f"{dimensions.key_value_heads} KV heads"
    if plan.split.tensor > dimensions.key_value_heads:
        heads += f" copied onto {plan.split.tensor} GPUs"
    element = f"1 byte of {plan.cache_type}" if plan.cache_type == "fp8" else "bytes of an element"
    formula = f"2 x {dimensions.layers} layers x {heads} x {dimensions.head_size} x {element}"
    if plan.split.gpus > 1:
        formula += f", over {plan.split.gpus} GPUs"
    if plan.speculation and plan.speculation.draft:
        formula += ", and the draft's"
    return [
        ("KV cache per token", f"{memory.cache_per_token:,} B", formula),
        (
            "KV cache",
            tables.size(memory.cache),
            f"{memory.tokens:,} tokens: {memory.sequences} sequences of {memory.context}",
        ),
    ]


def _model(model: ModelPlan) -> tuple[str, str, str, str, str, str]:
    runs = "its steps"
    if model.instances:
        on = f" {','.join(map(str, model.instances.gpus))}" if model.instances.gpus else ""
        runs = f"{model.instances.count} x {model.instances.kind}{on}"
    member = model.member
    batching = f"on, waits {member.batching.max_queue_delay_microseconds} us" if member.batching else "off"
    return model.name, "next", runs, str(member.max_batch_size), batching, member.why


def _tensor(tensor: Tensor) -> tuple[str, str, str, str]:
    dims = "[" + ",".join(map(str, tensor.dims)) + "]"
    return tensor.name, tensor.data_type, dims, "optional" if tensor.optional else ""

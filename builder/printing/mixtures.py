"""What `--fit` chose, for people: which parts have which type, and what that takes and loses."""

from __future__ import annotations

from collections.abc import Iterable

import click

from builder.planning.memory import Memory
from builder.planning.mixture import Mixture, Part
from builder.printing import tables

_GROUPS = {
    "embedding": "embedding, head where it is the same",
    "head": "head",
    "attention": "attention",
    "feed_forward": "feed-forward, gate and up",
    "down": "feed-forward, down",
}


def show(mixture: Mixture, memory: Memory) -> None:
    """Print a line for each type that parts of a kind have, and what all of them cost."""
    tables.show(
        f"What fits {tables.size(mixture.budget)}, the least lossy",
        ("part", "layers", "type", "size", "loses"),
        rows(mixture),
    )
    click.echo(f"takes {tables.size(memory.used)} when served; {_cost(mixture)}")
    if mixture.unbound:
        click.echo("that is all there is to gain: a larger --fit changes nothing")
    click.echo()


def rows(mixture: Mixture) -> list[tuple[str, str, str, str, str]]:
    """Return part, layers, type, size and loss, parts of a kind one below the other."""
    grouped: dict[tuple[str, str], list[tuple[int, Part]]] = {}
    order = list(_GROUPS)
    for name, part in mixture.parts.items():
        layer, _, group = name.rpartition(".")
        grouped.setdefault((group, part.kind), []).append((int(layer) if layer else -1, part))
    found = sorted(grouped.items(), key=lambda one: (order.index(one[0][0]), one[1][0][0]))
    return [
        (
            _GROUPS[group],
            _ranges(layer for layer, _ in theirs),
            kind,
            tables.size(sum(part.size for _, part in theirs)),
            _nats(sum(part.loss for _, part in theirs)) if mixture.measured else "not measured yet",
        )
        for (group, kind), theirs in found
    ]


def _ranges(layers: Iterable[int]) -> str:
    """Return numbers as 0-3, 7; none for a part that is in no layer."""
    runs: list[list[int]] = []
    for layer in layers:
        if layer < 0:
            continue
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _cost(mixture: Mixture) -> str:
    if not mixture.measured:
        return (
            "chosen by what is usual, embedding, head, down and both ends higher: "
            "a build measures what each part loses, and chooses again"
        )
    return (
        f"loses about {_nats(mixture.loss)}, measured by {mixture.tokens:,} tokens; "
        f"all in the smallest types {_nats(mixture.most)}, in the largest {_nats(mixture.least)}"
    )


def _nats(loss: float) -> str:
    return f"{loss:.2g} nats" if 0 < loss < 0.001 else f"{loss:.4f} nats"

"""What `builder list` and `builder doctor` print."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from builder.doctor import Advice, Diagnosis
from builder.printing import tables


def show(found: dict[str, list[dict[str, Any]]]) -> None:
    """Print every kind of thing that has a name on the command line."""
    tables.show(
        "Recipes",
        ("NAME", "pipeline", "parameters", "checkpoint", "what"),
        [
            (
                row["name"],
                row["pipeline"],
                f"{row['parameters']:,}",
                row["checkpoint"],
                row["description"],
            )
            for row in found["recipes"]
        ],
    )
    tables.show(
        "Targets",
        ("--target", "what", "several GPUs"),
        [(row["name"], row["title"], _yes(row["spans_gpus"])) for row in found["targets"]],
    )
    tables.show(
        "Contracts",
        ("--contract", "what", "offered by"),
        [
            (row["name"], row["title"], ", ".join(row["targets"]) or "every target")
            for row in found["contracts"]
        ],
    )
    tables.show(
        "Quantizations",
        ("--quantize", "what", "served by"),
        [
            (
                row["name"],
                row["title"],
                ", ".join(f"{target} on {'/'.join(devices)}" for target, devices in row["serves"].items()),
            )
            for row in found["quantizations"]
        ],
    )
    tables.show(
        "GPUs",
        ("--gpu", "what", "memory", "compute"),
        [(row["name"], row["title"], tables.size(row["memory"]), row["compute"]) for row in found["gpus"]],
    )
    tables.show(
        "Containers",
        ("--triton", "Triton", "vLLM", "TensorRT-LLM"),
        [(row["name"], row["triton"], row["vllm"], row["tensorrtllm"]) for row in found["containers"]],
    )
    tables.show("Architectures", ("model_type",), [(row["name"],) for row in found["architectures"]])


def show_diagnosis(rows: Iterable[Diagnosis]) -> None:
    """Print one line per thing, with the command that adds what is missing."""
    tables.show(
        "Doctor",
        ("what", "", "seen", "to add it"),
        [(row.what, "ok" if row.ready else "-", row.detail, "" if row.ready else row.remedy) for row in rows],
    )


def advice_to_json(found: Advice) -> dict[str, Any]:
    """Return which container runs a target, as JSON would hold it."""
    return {
        "target": vars(found.target),
        "driver": found.machine.driver,
        "gpu": found.machine.card.name if found.machine.card else "",
        "container": found.resolution.to_json() if found.resolution else None,
        "containers": dict(found.verdicts),
        "tools": dict(found.tools),
    }


def show_advice(found: Advice) -> None:
    """Print the container for a target, why not a newer one, and what of it is on this machine."""
    card, driver = found.machine.card, found.machine.driver
    where = [f"{card.title} (compute capability {card.compute})"] if card else []
    where += [f"driver {driver}"] if driver else []
    click.echo(f"{found.target.what}{', on ' if where else ''}{', '.join(where)}")
    if found.resolution is None:
        click.echo("  image      any of NVIDIA's, or the embedded server: its engine comes by pip")
        return
    click.echo(f"  image      {found.resolution.image}: {found.resolution.why}")
    for tool, place in found.tools.items():
        click.echo(f"  {tool}: {place or 'in that image; not on this machine'}")
    state = found.target.detail + (f": {found.target.remedy}" if found.target.remedy else "")
    click.echo(f"  here       {state}\n")
    rows = [(tag, "" if problem else "can run it", problem) for tag, problem in found.verdicts.items()]
    tables.show("Containers", ("--triton", "", "why not"), rows)


def _yes(value: bool) -> str:
    return "yes" if value else "no"

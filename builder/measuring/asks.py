"""Asks: what a model that answers once is asked, the inputs of one request each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from builder.errors import UsageError
from builder.measuring import prompts, tensors
from builder.measuring.front import Front

Inputs = dict[str, Any]
"""Input name -> a value or a list of them, as JSON writes them."""

SHIPPED = Path(__file__).parent / "texts.jsonl"
TEXT = "text_input"
GOLDEN = "golden.json"
FORMAT, KIND = 1, "single_pass"
# dtypes begin so -> what stands for a value of theirs
_EXAMPLES = {"BYTES": '"..."', "BOOL": "true", "FP": "0.5", "BF": "0.5"}


def read(
    front: Front, path: Path | None, repository: Path | None, carried: Mapping[str, Any]
) -> tuple[tuple[Inputs, ...], str]:
    """Return what to ask the front, and whence it is: `--prompts`, its golden answers, or the shipped texts.

    Args:
        path: a file of JSON lines: {"input name": value, ...}, or prompts for a front that takes a text.
        repository: the folder that is served, where it is at hand.
        carried: inputs that every request has besides.

    Raises UsageError for what the model does not take, and when there is nothing to ask it.
    """
    if path is not None:
        found = [_checked(front, _inputs(front, line), where, carried) for where, line in _lines(path)]
        return tuple(found), str(path)
    if asked := _golden(front, repository):
        return tuple(_checked(front, inputs, GOLDEN, carried) for inputs in asked), GOLDEN
    if set(front.required) - set(carried) == {TEXT} and front.inputs[TEXT] == "BYTES":
        found = [_checked(front, line, where, carried) for where, line in _lines(SHIPPED)]
        return tuple(found), "shipped"
    raise UsageError(
        f"what is {front.name} to be asked? It takes {', '.join(front.required) or 'no text'}",
        expected=f"--prompts FILE with lines such as {example(front)}",
        remedy='a list for several values, {"base64": "..."} for bytes; golden answers are asked where the '
        "repository is at hand: builder measure FOLDER",
    )


def published(repository: Path | None) -> set[str]:
    """Return the models of a folder that carry a manifest: those that clients talk to."""
    if repository is None:
        return set()
    return {manifest.parent.parent.name for manifest in repository.glob("*/*/manifest.json")}


def example(front: Front) -> str:
    """Return a line of a `--prompts` file for that model."""
    names = front.required or tuple(front.inputs)
    return "{" + ", ".join(f"{json.dumps(name)}: {_example(front, name)}" for name in names) + "}"


def _example(front: Front, name: str) -> str:
    datatype = front.inputs[name]
    one = next((shown for begins, shown in _EXAMPLES.items() if datatype.startswith(begins)), "1")
    return one if front.dims[name] in ((), (1,)) else f"[{one}, ...]"


def _lines(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield where each line is, for whoever must mend it, and its JSON."""
    lines = prompts.lines(path)
    for number, line in lines:
        where = f"--prompts {path}, line {number}"
        try:
            yield where, json.loads(line)
        except ValueError as failure:
            raise UsageError(f"{where}: {line[:80]}", expected="one JSON object") from failure


def _inputs(front: Front, line: Any) -> Any:
    """Return the line; what is a prompt as the text that the front takes."""
    if not isinstance(line, dict) or TEXT not in front.inputs or set(line) & set(front.inputs):
        return line
    if isinstance(line.get("prompt"), str):
        return {TEXT: line["prompt"]}
    chat = line.get("messages")
    is_chat = isinstance(chat, list) and chat and all(isinstance(one, dict) for one in chat)
    return {TEXT: prompts.as_text(chat)} if is_chat and isinstance(chat, list) else line


def _checked(front: Front, inputs: Any, where: str, carried: Mapping[str, Any]) -> Inputs:
    expected = f"an object such as {example(front)}"
    if not isinstance(inputs, dict):
        raise UsageError(f"{where}: {tensors.quoted(inputs)}", expected=expected)
    for name, value in inputs.items():
        require_fits(front, name, value, where)
    missing = [name for name in front.required if name not in {**inputs, **carried}]
    if missing:
        raise UsageError(f"{where} lacks {', '.join(missing)} of {front.name}", expected=expected)
    return inputs


def require_fits(front: Front, name: str, value: Any, where: str) -> None:
    """Raise UsageError when a model has no such input, or it cannot hold the value."""
    front.require_input(name, where)
    try:
        tensors.tensor(front.inputs[name], front.dims[name], value)
    except tensors.Unfit as unfit:
        raise UsageError(
            f"{where}: {name} cannot be {unfit}", expected=f"an object such as {example(front)}"
        ) from unfit


def _golden(front: Front, repository: Path | None) -> list[Inputs]:
    """Return what the newest version was proven with, nothing where it was not proven in one pass."""
    versions = [] if repository is None else (repository / front.name).glob(f"[0-9]*/{GOLDEN}")
    files = sorted(
        (file for file in versions if file.parent.name.isdigit()), key=lambda file: int(file.parent.name)
    )
    if not files:
        return []
    try:
        golden = json.loads(files[-1].read_text(encoding="utf-8"))
        if golden["format"] != FORMAT or golden["kind"] != KIND:
            return []
        return [dict(ask["inputs"]) for ask in golden["asks"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []  # `builder verify` says what is wrong with it

"""Recipe: a model by name, with its published dimensions, so that `plan` needs no checkpoint."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builder import architecture, encoder, house, recipe_limits
from builder.architecture import AnyDimensions
from builder.errors import UsageError
from builder.quantization import Limits

REQUIRED = ("description", "licence", "checkpoint", "defaults", "config")
OPTIONAL = ("revision", "chat", "limits")
DEFAULTS = ("target", "quantize", "precision", "pipeline", "max_tokens", "truncate")
KINDS: Mapping[str, type] = {
    "chat": bool,
    "truncate": bool,
    "max_tokens": int,
    "config": dict,
    "limits": dict,
}
"""The fields that are no text."""
GENERATION = "text_generation"
NULL = "null"
"""Stands for null in a recipe's config: TOML has none, and an absent field may mean a default."""


@dataclass(frozen=True)
class Recipe:
    """A named model: where its checkpoint is, what it is by default built into, what it measures.

    `quantize` is None where the weights stay in `precision`; `config` holds the published fields of
    Hugging Face's config.json. `pipeline` is the file of ensembles/ that it serves. `max_tokens` is the
    most tokens a text may have, None for all that the model has positions for; `truncate` says that a
    longer one is cut instead of refused. `limits` tells by precision what may be lost, where that is not what
    the precision says.
    """

    name: str
    description: str
    licence: str
    checkpoint: str
    target: str
    config: Mapping[str, Any]
    revision: str | None = None
    quantize: str | None = None
    precision: str = "fp32"
    chat: bool = True
    pipeline: str = GENERATION
    max_tokens: int | None = None
    truncate: bool = False
    limits: Mapping[str, Limits] = field(default_factory=dict)
    path: Path = field(default=Path(), compare=False)

    @property
    def model_type(self) -> str:
        return str(self.config["model_type"])

    @property
    def labels(self) -> tuple[str, ...]:
        """Return what the model's answers are called, by number; empty where its config names none."""
        return encoder.labels(self.config) if self.config.get("id2label") else ()

    def dimensions(self) -> AnyDimensions:
        """Return the published dimensions; raise SourceError naming what the config lacks."""
        architecture.require_fields(self.config, ["model_type"], where=f"{self.path}: [config]")
        return architecture.load(self.model_type).dimensions(self.config)


def names() -> list[str]:
    """Return the names of the recipes shipped with the program."""
    return sorted(path.stem for path in house.folder("recipes").glob("*.toml"))


def load(name_or_path: str | Path) -> Recipe:
    """Return a shipped recipe by name, or anyone's own by the path of its .toml file.

    Raises:
        UsageError: no such recipe, or a recipe with missing, misspelt or wrongly typed fields.
    """
    path = _find(str(name_or_path))
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}", remedy="correct the file") from error
    _check_names(path, table, REQUIRED, OPTIONAL)
    for section in ("defaults", "config"):
        if not isinstance(table[section], dict):
            raise UsageError(f"{path}: {section} is {table[section]!r}", expected=f"a table [{section}]")
    table["config"] = {name: None if value == NULL else value for name, value in table["config"].items()}
    defaults = table.pop("defaults")
    _check_names(path, defaults, ("target",), DEFAULTS[1:], section="defaults.")
    fields = table | defaults
    for name, value in fields.items():
        kind = KINDS.get(name, str)
        if type(value) is not kind:
            raise UsageError(f"{path}: {name} is {value!r}", expected=f"a {kind.__name__}")
    _check_pipeline(path, fields)
    fields["limits"] = recipe_limits.parse(path, fields.get("limits", {}))
    fields.setdefault("chat", fields.get("pipeline", GENERATION) == GENERATION)
    return Recipe(name=path.stem, path=path, **fields)


def _check_pipeline(path: Path, fields: Mapping[str, Any]) -> None:
    wanted, model_type = fields.get("pipeline", GENERATION), fields["config"].get("model_type")
    if fields.get("max_tokens", 1) < 1:
        raise UsageError(f"{path}: max_tokens is {fields['max_tokens']}", expected="at least 1")
    # an unknown family is told by `dimensions`, which needs it
    if not isinstance(model_type, str) or model_type.replace("-", "_") not in architecture.names():
        return
    offered = architecture.load(model_type).PIPELINES
    if wanted not in offered:
        near = difflib.get_close_matches(wanted, offered, n=1)
        raise UsageError(
            f"{path}: pipeline is {wanted!r}, which no {model_type} serves",
            expected=f"one of {', '.join(offered)}",
            remedy=f"did you mean {near[0]!r}?" if near else "",
        )


def _find(reference: str) -> Path:
    path = Path(reference)
    if path.suffix == ".toml":
        if not path.is_file():
            raise UsageError(f"{path} does not exist", expected="a recipe file", remedy="check the path")
        return path
    known = names()
    if reference in known:
        return house.folder("recipes") / f"{reference}.toml"
    near = difflib.get_close_matches(reference, known, n=1)
    raise UsageError(
        f"no recipe is called {reference!r}",
        expected=f"one of {', '.join(known)}, or the path of a .toml file",
        remedy=f"did you mean {near[0]!r}?" if near else "",
    )


def _check_names(
    path: Path,
    table: Mapping[str, Any],
    required: tuple[str, ...],
    optional: tuple[str, ...],
    section: str = "",
) -> None:
    missing = [section + name for name in required if name not in table]
    if missing:
        raise UsageError(f"{path} lacks {', '.join(missing)}", expected="every field of a recipe")
    known = [*required, *optional]
    for name in table:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise UsageError(
                f"{path}: {section}{name} means nothing in a recipe",
                expected=f"one of {', '.join(section + one for one in known)}",
                remedy=f"did you mean {section + near[0]!r}?" if near else "remove it",
            )

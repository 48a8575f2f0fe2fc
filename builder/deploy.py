"""Write a deployment as files: whole or not at all, and never over what somebody changed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from builder import compiling, files, house
from builder.contract import MODELS
from builder.deploying import gateway
from builder.deploying.launching import EXIT_TIMEOUT
from builder.deploying.unbuilt import SERVICE
from builder.deployment import ENVIRONMENT, PORTS, Deployment
from builder.errors import RepositoryError
from builder.probes import Probe

COMPOSE = ("Dockerfile", "Dockerfile.gateway", "compose.yaml")
"""The files of `deploy compose`, in the order in which they are written."""

# Seconds beyond Triton's own exit timeout, which it may overrun while it unloads models.
_PATIENCE = 15
_PROBE_SECONDS = 10
_HEADER = "# Written by `builder deploy`; it overwrites this file only while sha256 of the rest is {digest}\n"
_HEADER_PATTERN = re.compile(re.escape(_HEADER).replace(re.escape("{digest}"), "([0-9a-f]{64})"))


def compose(deployment: Deployment, output: Path) -> dict[str, str]:
    """Return file name -> text of what `docker compose` needs; the same deployment gives the same text.

    Paths in it are relative to `output` where the repository is near, so that both can move together.
    """
    values = {
        "deployment": deployment,
        "command": deployment.command,
        "environment": {**ENVIRONMENT, "HOME": "/tmp"},
        "health": " && ".join(shlex.join(_curl(probe)) for probe in deployment.fronts),
        "health_seconds": _PROBE_SECONDS * len(deployment.fronts) + 2,
        "grace_seconds": EXIT_TIMEOUT + _PATIENCE,
        "models": MODELS,
        "ports": [
            f"{deployment.address}:{outside}:{inside}"
            for outside, inside in zip(deployment.published, PORTS.values(), strict=True)
        ],
        "source": _source(deployment.repository, output),
        "engines": [(one, _source(one.folder, output)) for one in deployment.unbuilt],
        "profile": SERVICE,
        "engine_folder": compiling.FOLDER,
        **gateway.values(deployment.address, deployment.openai_port, output, exit_timeout=EXIT_TIMEOUT),
    }
    return {name: _with_header(_render(name, values)) for name in COMPOSE}


def write(texts: Mapping[str, str], output: Path, *, force: bool = False) -> list[Path]:
    """Write files into a folder and return those that were new or different.

    Raises:
        RepositoryError: a file there was changed or is not ours, and `force` is not set, or the disk
            refuses. Nothing was written then.
    """
    with files.translated(RepositoryError, f"writing to {output}"):
        wanted = {output / name: text for name, text in texts.items()}
        differing = {path: text for path, text in wanted.items() if _held(path) != text}
        foreign = [path for path in differing if path.exists() and not _is_ours(path)]
        if foreign and not force:
            raise RepositoryError(
                f"{', '.join(map(str, foreign))} was changed by somebody, or was not written by this command",
                expected="to overwrite nobody's work",
                remedy="pass --force to lose those changes, or choose another --output; "
                "best keep changes in a compose overlay",
            )
        output.mkdir(parents=True, exist_ok=True)
        _replace(differing)
    return list(differing)


def _replace(texts: Mapping[Path, str]) -> None:
    staged = {path: path.with_name(f".{path.name}.{os.getpid()}") for path in texts}
    try:
        for path, text in texts.items():
            staged[path].write_text(text, encoding="utf-8")
        for path, stage in staged.items():
            stage.replace(path)
    finally:
        for stage in staged.values():
            stage.unlink(missing_ok=True)


def _held(path: Path) -> str | None:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None


def _is_ours(path: Path) -> bool:
    header = _HEADER_PATTERN.match(text := _held(path) or "")
    return header is not None and _digest(text[header.end() :]) == header[1]


def _with_header(text: str) -> str:
    return _HEADER.format(digest=_digest(text)) + text


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _render(name: str, values: Mapping[str, Any]) -> str:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(house.folder("docker") / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["quoted"] = _quoted
    environment.filters["mebibytes"] = lambda size: f"{-(-size // (1 << 20))}m"
    return environment.get_template(f"{name}.jinja").render(values)


def _quoted(text: str) -> str:
    """Return a YAML string in which compose interpolates nothing."""
    return json.dumps(text, ensure_ascii=False).replace("$", "$$")


def _curl(probe: Probe) -> list[str]:
    # a proxy may be in every container's environment
    quiet = ["--fail-with-body", "--silent", "--show-error", "--noproxy", "*"]
    body = [] if probe.body is None else ["--data", json.dumps(probe.body)]
    address = f"http://127.0.0.1:{PORTS['http']}{probe.path}"
    return ["curl", *quiet, "--max-time", str(_PROBE_SECONDS), *body, address]


def _source(repository: Path, output: Path) -> str:
    inside, outside = repository.resolve(), output.resolve()
    # two folders that share nothing but the root will not move together
    if inside.parts[:2] != outside.parts[:2]:
        return str(inside)
    relative = os.path.relpath(inside, outside)
    return relative if relative.startswith(".") else f"./{relative}"

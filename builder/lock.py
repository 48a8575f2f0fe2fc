"""builder.lock: what a build resolved, so that the next one takes the same or says what has changed.

JSON, to be committed beside what it is of: for each model its source, and for each target that it was built
for the container and the versions of the tools that made the artifact.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from builder import artifact_key, files, house
from builder.convert import Artifact
from builder.errors import BuilderError, LockError
from builder.plan import Options, Plan, Subject, plan
from builder.source import Checkpoint, origin_of

NAME = "builder.lock"
FORMAT = 1
NOWHERE = "none"
"""What `--lock` takes for no lock at all."""

_SHOWN = 12


@dataclass(frozen=True)
class Source:
    """Where a model comes from: `sha256` are the digests of its files by name, `draft` those of its draft."""

    origin: str
    revision: str
    sha256: Mapping[str, str]


@dataclass(frozen=True)
class Way:
    """How a target is served and was made: the release of Triton, its image and its digest, the tools.

    `image` is "" for one that any container serves, `digest` where no Docker knew it; `draft` are the digests
    of the model that guesses ahead.
    """

    triton: str
    image: str = ""
    digest: str = ""
    tools: Mapping[str, str] = field(default_factory=dict)
    draft: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Pins:
    """What the lock says of one model: nothing is pinned where there is no file, or none of its name.

    `path` is None where nothing is to be pinned; with `moving` what was pinned is replaced.
    """

    path: Path | None = None
    name: str = ""
    source: Source | None = None
    ways: Mapping[str, Way] = field(default_factory=dict)
    moving: bool = False

    @property
    def revision(self) -> str | None:
        """Return the commit to read the source at, None for its newest."""
        return (self.source.revision or None) if self.source and not self.moving else None

    def way(self, target: str) -> Way | None:
        """Return what is pinned of a target, None for nothing."""
        return None if self.moving else self.ways.get(target)


def beside(name: str) -> Path:
    """Return where the lock of a recipe's name or file is: beside the file, else in the working folder."""
    return Path(name).parent / NAME if name.endswith(".toml") else Path(NAME)


def read(path: Path | None, name: str, *, moving: bool = False) -> Pins:
    """Return what a lock pins of a model; raise LockError for a file that is none."""
    told = _models(path).get(name) if path is not None else None
    if told is None:
        return Pins(path, name, moving=moving)
    try:
        ways = {target: Way(**way) for target, way in told["targets"].items()}
        return Pins(path, name, Source(**told["source"]), ways, moving)
    except (TypeError, KeyError, AttributeError) as error:
        raise _broken(path, f"{name} is not as a build writes it: {error}") from error


def _models(path: Path | None) -> dict[str, Any]:
    if path is None or not path.exists():
        return {}
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise _broken(path, str(error)) from error
    if not isinstance(told, dict) or not isinstance(told.get("models"), dict):
        raise _broken(path, "it names no models")
    if told.get("format") != FORMAT:
        raise _broken(path, f"it is of format {told.get('format')}, not {FORMAT}")
    return dict(told["models"])


def _broken(path: Path | None, problem: str) -> LockError:
    return LockError(
        f"{path} is no lock: {problem}",
        expected="what `builder build` wrote",
        remedy="take it from version control again, or remove it: the next build writes another",
    )


def pinned(subject: Subject, options: Options, pins: Pins) -> Plan:
    """Return the plan, for the container that is pinned where nobody asked for another.

    Raises LockError for one that was asked for and is not the pinned one, or a pinned one that cannot do it.
    """
    planned = plan(subject, options)
    way = pins.way(planned.target)
    if way is None or way.triton == planned.container.tag:
        return planned
    if options.triton is not None:
        _refuse(pins, [f"--triton {options.triton}, pinned is {way.triton}"])
    try:
        return plan(subject, replace(options, triton=way.triton))
    except BuilderError as error:
        # nobody typed that --triton
        raise LockError(
            f"{pins.path} pins {pins.name} to Triton {way.triton}: "
            + error.found.removeprefix(f"--triton {way.triton}: "),
            expected=error.expected,
            remedy="take the lock from version control again, or move on with --update-lock",
        ) from error


def require_tools(planned: Plan, found: Checkpoint, pins: Pins) -> None:
    """Raise LockError where tools, image or revision are not the pinned ones: before anything is fetched."""
    way = pins.way(planned.target)
    differing = []
    if pins.revision is not None and found.revision != pins.revision:
        differing.append(f"{found.origin} is at revision {found.revision}, pinned is {pins.revision}")
    if way is not None:
        differing += _differing("tool", tools(planned), way.tools)
        digest = image_digest(image(planned)) if way.digest else ""
        if digest and digest != way.digest:
            differing.append(f"{way.image} is {digest} here, pinned is {way.digest}")
    if differing:
        _refuse(pins, differing)


def require_source(pins: Pins, target: str, source: Mapping[str, str], draft: Mapping[str, str]) -> None:
    """Raise LockError where the digests of the checkpoint's files are not the pinned ones."""
    way = pins.way(target)
    differing = [] if pins.moving or pins.source is None else _differing("file", source, pins.source.sha256)
    differing += _differing("draft's", draft, way.draft) if way else []
    if differing:
        _refuse(pins, differing)


def _differing(kind: str, found: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    return [
        f"{kind} {name}: {_short(found.get(name))}, pinned is {_short(expected.get(name))}"
        for name in sorted({*found, *expected})
        if found.get(name) != expected.get(name)
    ]


def _short(value: str | None) -> str:
    """Return a version as it is, a digest by its beginning."""
    return "none" if value is None else f"{value[:12]}..." if len(value) == 64 else value


def _refuse(pins: Pins, differing: list[str]) -> None:
    more = len(differing) - _SHOWN
    lines = [*differing[:_SHOWN], *([f"and {more} more"] if more > 0 else [])]
    raise LockError(
        f"{pins.name} is not what {pins.path} pins:\n" + "\n".join(f"  {line}" for line in lines),
        expected="what the last build took, so that this one makes the same",
        remedy="put that back, or move on with --update-lock",
    )


def write(pins: Pins, planned: Plan, found: Checkpoint, artifact: Artifact) -> Path | None:
    """Pin what a build took, where that is not pinned yet; return the file, None where nothing is new."""
    if pins.path is None:
        return None
    source = Source(origin_of(planned.origin), found.revision, dict(artifact.source_digests))
    known = pins.way(planned.target)
    way = known or Way(
        triton=planned.container.tag,
        image=image(planned),
        digest=image_digest(image(planned)),
        tools=tools(planned),
        draft=dict(artifact.draft_digests),
    )
    if known is not None and pins.source is not None:
        return None
    with files.translated(LockError, f"writing {pins.path}"), files.locked(_guard(pins.path)):
        models = _models(pins.path)
        ways = models.get(pins.name, {}).get("targets", {})
        models[pins.name] = {
            "source": asdict(source),
            "targets": {**ways, planned.target: asdict(way)},
        }
        files.replace_text(pins.path, files.dump({"format": FORMAT, "models": models}))
    return pins.path


def _guard(path: Path) -> Path:
    return house.cache_folder() / "locks" / f"{artifact_key.key({'lock': str(path.resolve())})[:16]}.lock"


def tools(planned: Plan) -> dict[str, str]:
    """Return the versions of the tools that make the artifact of a plan."""
    return artifact_key.tools(house.plugin("targets", planned.target, option="--target").TOOLS)


def image(planned: Plan) -> str:
    """Return the image that a plan is for, "" where any container serves it."""
    return planned.resolution.image if planned.resolution else ""


def image_digest(name: str) -> str:
    """Return the digest of an image that Docker has here, "" where it has none."""
    if not name or not shutil.which("docker"):
        return ""
    command = ["docker", "image", "inspect", "--format", '{{join .RepoDigests "\\n"}}', name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.partition("\n")[0].strip().rpartition("@")[2] if done.returncode == 0 else ""

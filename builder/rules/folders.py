"""TRN00x: the folders of a model, which Triton's poll trips over before it reads a config.

Triton: core/src/model_repository_manager/model_repository_manager.cc and model_lifecycle.cc.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from builder.layout import LARGEST_VERSION, Model
from builder.rule import Fault, rule
from builder.rules.repositories import LEFTOVERS

_MEANT_AS_VERSION = re.compile(r"(?:0+|v(?:er(?:sion)?)?[._-]?0*)(\d{1,18})", re.IGNORECASE)


@rule("TRN003", "fatal")
def version_overflows(model: Model) -> Iterator[Fault]:
    """A version's number has at most 18 digits: Triton reads it with std::stoll and aborts on overflow.

    Bad:
        == m/config.pbtxt
        == m/99999999999999999999/model.py
    Good:
        == m/config.pbtxt
        == m/999999999999999999/model.py
    """
    for folder in model.folders:
        if folder.number is not None and abs(folder.number) > LARGEST_VERSION:
            yield Fault(
                (),
                f"version folder {folder.path.name} is larger than {LARGEST_VERSION}: "
                "Triton aborts with std::out_of_range, and all its models with it",
                "rename it to a small number",
                file=folder.path.name,
            )


@rule("TRN004", "warning")
def version_misread(model: Model) -> Iterator[Fault]:
    """A version folder's name is a number and nothing else.

    Triton reads the number that a name begins with, then looks for a folder of that number alone: where
    it picks that version and there is none, the boot waits for ever.

    Bad:
        == m/config.pbtxt
        == m/1/model.py
        == m/2_backup/model.py
    Good:
        == m/config.pbtxt
        == m/1/model.py
        == m/backup_2/model.py
    """
    for folder in model.folders:
        if folder.number is None or folder.is_exact or abs(folder.number) > LARGEST_VERSION:
            continue
        hangs = folder.number in model.served and not (model.path / str(folder.number)).is_dir()
        missing = f", then waits for ever for {model.name}/{folder.number}, which does not exist"
        yield Fault(
            (),
            f"Triton takes the folder {folder.path.name} for version {folder.number}"
            + (missing if hangs else ""),
            f"move {folder.path.name} out of the repository",
            file=folder.path.name,
            severity="fatal" if hangs else None,
        )


@rule("TRN005", "warning")
def version_zero(model: Model) -> Iterator[Fault]:
    """Versions count from 1: a request or an ensemble step cannot tell version 0 from no version named.

    Bad:
        == m/config.pbtxt
        == m/0/model.py
    Good:
        == m/config.pbtxt
        == m/1/model.py
    """
    if 0 in model.versions:
        yield Fault(
            (),
            f"model '{model.name}' has a version 0, which a request cannot tell from 'no version named'",
            "count versions from 1",
            file="0",
        )


@rule("TRN006")
def no_version(model: Model) -> Iterator[Fault]:
    """Every model, an ensemble too, has a version folder that its version policy picks.

    git and object stores drop empty folders: an ensemble's needs a placeholder file.

    Triton: at least one version must be available under the version policy of model 'X'
    Bad:
        version_policy { specific { versions: [ 3 ] } }
        == m/1/model.py
    Good:
        version_policy { specific { versions: [ 1 ] } }
        == m/1/model.py
    """
    if model.parse_error or model.served:
        return
    has_policy = model.config is not None and model.config.HasField("version_policy")
    wanted = model.config.version_policy.specific.versions if has_policy else ()
    version = wanted[0] if wanted else 1
    others = [folder.path.name for folder in model.folders if folder.number is None]
    told = f": {others[0]} is none, as a version's name is a number" if others and not model.versions else ""
    remedies = [] if _keeps_none(model) and model.versions else [_version_for(model, version, others)]
    remedies += ["write num_versions: 1"] if _keeps_none(model) else []
    yield Fault(
        ("version_policy",) if has_policy else (),
        f"at least one version must be available under the version policy of model '{model.name}'{told}",
        ", and ".join(remedies),
        file="config.pbtxt" if has_policy else ".",
    )


def _keeps_none(model: Model) -> bool:
    """Return whether the policy is `latest` without a number, which is 0."""
    policy = model.config.version_policy
    return bool(policy.HasField("latest") and not policy.latest.num_versions)


def _version_for(model: Model, version: int, others: list[str]) -> str:
    if model.versions:
        return (
            f"write versions: [ {model.versions[-1]} ], or add {model.name}/{version} with the model's files"
        )
    if others:
        return f"rename {model.name}/{others[0]} to {model.name}/{version}"
    if model.backend == "ensemble":
        return f"add the folder {model.name}/{version} with a placeholder file in it, such as .keep"
    return f"add the folder {model.name}/{version} with the model's files"


@rule("TRN007", "warning")
def version_not_there(model: Model, config: Any) -> Iterator[Fault]:
    """A version that the policy names has its folder: Triton serves the others and says so only in its log.

    Triton: version 3 is specified for model 'X', but the version directory is not present
    Bad:
        version_policy { specific { versions: [ 1, 3 ] } }
        == m/1/model.py
    Good:
        version_policy { specific { versions: [ 1 ] } }
        == m/1/model.py
    """
    for place, version in enumerate(config.version_policy.specific.versions):
        # where none is there at all, no_version tells
        if model.served and version not in model.versions:
            yield Fault(
                ("version_policy", "specific", "versions", place),
                f"version {version} is specified for model '{model.name}', but the version directory is not "
                "present",
                f"add the folder {model.name}/{version}, or remove it from the policy",
            )


@rule("TRN009", "warning")
def version_skipped(model: Model) -> Iterator[Fault]:
    """A version's name is its number, without leading zeros or a "v": Triton skips any other folder.

    Bad:
        == m/config.pbtxt
        == m/1/model.py
        == m/02/model.py
    Good:
        == m/config.pbtxt
        == m/1/model.py
        == m/2/model.py
    """
    for folder in model.folders:
        name = folder.path.name
        meant = _MEANT_AS_VERSION.fullmatch(name)
        if meant and name != meant[1] and model.served:
            yield Fault(
                (),
                f"Triton skips the folder {name}: the name of a version is its number alone",
                f"rename it to {meant[1]}, or move it out of the repository",
                file=name,
            )


@rule("TRN010", "warning")
def leftover_folder(model: Model) -> Iterator[Fault]:
    """No tool has left its own folders between the versions.

    Triton guesses a backend by the files in the first subfolder, and `.ipynb_checkpoints` sorts before `1`.

    Bad:
        == m/config.pbtxt
        == m/1/model.py
        == m/.ipynb_checkpoints/model-checkpoint.py
    Good:
        == m/config.pbtxt
        == m/1/model.py
    """
    for name in LEFTOVERS:
        if (model.path / name).is_dir():
            yield Fault(
                (), f"{model.name} holds {name}, which a tool left behind", f"remove {name}", file=name
            )

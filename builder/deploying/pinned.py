"""What builder.lock pins of a deployment's image: the release, and the digest that Docker had of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder import lock
from builder.errors import LockError, UsageError

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Pinned:
    """The image that a lock names, its release and its digest; "" for what it does not."""

    triton: str = ""
    image: str = ""
    digest: str = ""

    def exactly(self, image: str) -> str:
        """Return an image with its digest, where that is pinned."""
        return f"{image}@{self.digest}" if self.digest and image == self.image else image


def pinned(path: Path | None, facts: Sequence[Mapping[str, Any]], asked: str | None) -> Pinned:
    """Return what a lock pins for the models of a repository, nothing where there is no lock.

    Args:
        facts: the plans of the models, {} of those that are no fronts.
        asked: the release of --triton, None for none.

    Raises:
        LockError: the file is no lock, or pins another release than was asked for.
        UsageError: it pins images that are not one.
    """
    found = {str(fact["name"]): one for fact in facts if (one := _of(path, fact)) is not None}
    if len(set(found.values())) > 1:
        told = ", ".join(f"{name} {one.exactly(one.image)}" for name, one in found.items())
        raise UsageError(
            f"{path} pins images that are not one: {told}",
            expected="one image for all models of a server",
            remedy="build the models anew with --update-lock, or deploy each from a repository of its own",
        )
    only = next(iter(found.values()), Pinned())
    if asked is not None and only.triton and asked != only.triton:
        raise LockError(
            f"--triton {asked}, and {path} pins {only.triton}",
            expected="the image that the models were built for",
            remedy=f"leave --triton out, or pass --lock {lock.NOWHERE}",
        )
    return only


def _of(path: Path | None, fact: Mapping[str, Any]) -> Pinned | None:
    """Return what is pinned of one front; None where any container serves it, or nothing is."""
    way = lock.read(path, str(fact["name"])).ways.get(str(fact["target"])) if "target" in fact else None
    if way is None or not way.image:
        return None
    if way.digest and not _DIGEST.fullmatch(way.digest):
        raise LockError(
            f"{path} pins {way.image} by {way.digest!r}",
            expected="sha256: and 64 hexadecimal digits",
            remedy="take the file from version control again, or build with --update-lock",
        )
    return Pinned(way.triton, way.image, way.digest)

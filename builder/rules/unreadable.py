"""TRN013: what is there and cannot be read; whatever rule comes upon it, it is told once, by this code."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

from builder.layout import Model
from builder.reading import Refused
from builder.rule import CONFIG, Fault, rule

_LONGEST_TOLD = 80
_REMEDIES = {
    errno.EACCES: "make it readable for those who run the check and the server",
    errno.EPERM: "make it readable for those who run the check and the server",
    errno.ENAMETOOLONG: "write the name of a file that exists",
}


@rule("TRN013")
def file_unreadable(model: Model) -> Iterator[Fault]:
    """Every file that the check looks at can be read: what depends on it is not checked otherwise.

    A config, code or JSON of more than 1 MB, a label file of more than 16 MB and an .onnx file of more than
    500,000 fields are not read. Neither is a file to which a symlink leads out of the checked folders, which
    is a warning: Triton follows it.
    """
    if model.unread is not None:
        yield fault(model.unread, model.path)


def fault(error: OSError, folder: Path) -> Fault:
    """Return what to say of a file that could not be read, by its place below a model's folder."""
    path = Path(str(error.filename))
    inside = path.is_relative_to(folder) and error.errno != errno.ENAMETOOLONG
    file = str(path.relative_to(folder)) if inside else CONFIG
    name = path.name if len(path.name) <= _LONGEST_TOLD else path.name[:_LONGEST_TOLD] + "..."
    refused = error if isinstance(error, Refused) else None
    return Fault(
        (),
        f"{name} cannot be read: {error.strerror or error}",
        refused.remedy if refused else _REMEDIES.get(error.errno or 0, "mend or remove it"),
        file=file,
        severity=refused.severity if refused else None,
    )

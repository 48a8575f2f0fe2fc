"""What is wrong with a repository, and where."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Severity = Literal["fatal", "error", "warning"]
"""fatal: Triton hangs, aborts or serves something else; error: it refuses the model and says why; warning:
it takes the model, whose users will be surprised."""

SEVERITIES: tuple[Severity, ...] = ("fatal", "error", "warning")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    `code` is the rule's (TRN201), `rule` its name; `path` is relative to the folder `repository` and begins
    with the model's name; `line` and `column` count from 1, and are 0 where no field is meant.
    """

    code: str
    rule: str
    severity: Severity
    repository: str
    path: str
    line: int
    column: int
    message: str
    remedy: str

    @property
    def where(self) -> str:
        """Return path:line:column within the repository, for where one repository is meant anyway."""
        return self._at(self.path)

    @property
    def file(self) -> str:
        """Return the path from the current folder on, the repository spelled as the user gave it."""
        return str(Path(self.repository) / self.path)

    @property
    def address(self) -> str:
        """Return path:line:column from the current folder on, as editors and terminals open it."""
        return self._at(self.file)

    @property
    def model(self) -> str:
        """Return the name of the model that the finding is about, "." for the repository itself."""
        return self.path.split("/")[0]

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"model": self.model}

    def _at(self, path: str) -> str:
        return f"{path}:{self.line}:{self.column}" if self.line else path

"""How a measurement can end badly."""

from __future__ import annotations

from builder.errors import BuilderError


class MeasureError(BuilderError):
    """Nothing could be measured: no server, no answer, or a file that is no measurement."""


class Refused(Exception):
    """One request was not answered to its end; the text is what its error is counted under."""

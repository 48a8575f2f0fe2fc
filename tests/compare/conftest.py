"""The tiny model and the workshop that builds it."""

from tiny import disk, workshop

__all__ = ["disk", "workshop"]

"""Every way a build can end badly, and the exit code it ends with.

BuilderError                1  anything below
  UsageError                2  the command line asks for something that does not exist
  SourceError               1  a checkpoint is missing, truncated or not what it says
  PlanError                 1  no deployment of this model fits what was asked
  LockError                 1  what is found is not what builder.lock pins
  ConversionError           1  the artifact could not be made
  ProofError                1  the artifact does not answer like its source
  RepositoryError           1  the repository could not be written or published
  ServeError                1  Triton did not reach READY
  VerifyError               1  the verification itself could not run
  ChatError                 1  no conversation: no server, no front, or one that went away
  ComparisonError           1  a variant is not served, or a file is no comparison
  KeysError                 1  the gateway's keys and accounts cannot be read or written
  Interrupted             130  Ctrl-C; nothing was published
"""

from __future__ import annotations


class BuilderError(Exception):
    """A failure with a remedy.

    Args:
        found: what was seen, naming the file, field or number.
        expected: what should have been there instead.
        remedy: the command or change that mends it.
    """

    exit_code = 1

    def __init__(self, found: str, *, expected: str = "", remedy: str = "") -> None:
        self.found = found
        self.expected = expected
        self.remedy = remedy
        super().__init__(self.sentence())

    def sentence(self) -> str:
        """Return all that is known as lines: found, expected, what to do."""
        lines = [self.found]
        if self.expected:
            lines.append(f"expected: {self.expected}")
        if self.remedy:
            lines.append(f"to mend it: {self.remedy}")
        return "\n".join(lines)


class UsageError(BuilderError):
    """The command line names something that does not exist or does not combine."""

    exit_code = 2


class SourceError(BuilderError):
    """A checkpoint is missing, truncated, or not what its files say."""


class PlanError(BuilderError):
    """No deployment of this model fits what was asked."""


class LockError(BuilderError):
    """What is found is not what builder.lock pins, or the lock cannot be read or written."""


class ConversionError(BuilderError):
    """The artifact could not be made from the checkpoint."""


class ProofError(BuilderError):
    """The artifact does not answer like its source."""


class RepositoryError(BuilderError):
    """The model repository could not be written or published."""


class ServeError(BuilderError):
    """Triton did not reach READY; the message holds Triton's own reason."""


class VerifyError(BuilderError):
    """The verification could not run: no server, no golden answers, no such model."""


class ChatError(BuilderError):
    """The conversation cannot be held: no server, no front to chat with, or one that went away."""


class ComparisonError(BuilderError):
    """A variant is not served as asked, there is no room for all of them, or a file is no comparison."""


class KeysError(BuilderError):
    """Keys and what they took cannot be read or written: no database, no such key, a name in use."""


class Interrupted(BuilderError):
    """Ctrl-C: the stage named in the message was left, nothing was published."""

    exit_code = 130

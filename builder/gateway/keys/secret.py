"""The text of a key: made once, shown once, kept as a hash.

A key is 256 random bits, so there is nothing that a guess could begin with, and the hash may be a fast one:
the slow ones (argon2, scrypt) make up for passwords, which people choose, and would cost every request
milliseconds. For the same reason it needs no salt.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

PREFIX = "bk_"
"""By which scanners of repositories and logs may know one."""
_FORM = re.compile(PREFIX + r"([0-9a-f]{12})_[0-9a-f]{64}")
_ANYWHERE = re.compile(PREFIX + r"[0-9a-f]{12}_")
_NOBODYS = "0" * 64


def make() -> tuple[str, str]:
    """Return a new key: its id, which may be shown, and its text, which may not."""
    number = secrets.token_hex(6)
    return number, f"{PREFIX}{number}_{secrets.token_hex(32)}"


def number(text: str) -> str | None:
    """Return the id in the text of a key, None for what cannot be one, however long it is."""
    found = _FORM.fullmatch(text)
    return found[1] if found else None


def digest(text: str) -> str:
    """Return what is kept of a key: its SHA-256 in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def is_it(text: str, kept: str | None) -> bool:
    """Say whether a text has the digest that is kept, in the same time whatever differs, None included."""
    same = hmac.compare_digest(digest(text), kept or _NOBODYS)
    return same and kept is not None


def stands_in(text: str) -> bool:
    """Say whether there is a key in a text."""
    return _ANYWHERE.search(text) is not None

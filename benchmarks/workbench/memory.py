"""Memory of a deployment, whoever of its processes holds it, from /proc."""

from __future__ import annotations

from pathlib import Path

_PROC = Path("/proc")
_MB = 2**20
_SHARED = "/dev/shm/"


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it, those that still run."""
    parents: dict[int, int] = {}
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            try:
                # the name in parentheses may hold spaces
                after_name = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(folder.name)] = int(after_name[1])
    members = [pid] if pid in parents else []
    for member in members:
        members += [child for child, parent in parents.items() if parent == member]
    return members


def rollup(text: str) -> dict[str, int]:
    """Return the fields of a smaps_rollup file in bytes."""
    fields = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and words[2] == "kB":
            fields[words[0].rstrip(":")] = int(words[1]) * 1024
    return fields


def megabytes(pid: int) -> dict[str, float]:
    """Return {"pss", "rss"} of a process and its descendants in MB (2^20 bytes).

    PSS counts a shared page once, divided among those who map it: its sum is what the deployment takes.
    """
    total = {"pss": 0.0, "rss": 0.0}
    for member in family(pid):
        try:
            fields = rollup((_PROC / str(member) / "smaps_rollup").read_text())
        except OSError:
            continue  # it ended meanwhile
        total["pss"] += fields.get("Pss", 0) / _MB
        total["rss"] += fields.get("Rss", 0) / _MB
    return total


def shared_megabytes(pid: int) -> float:
    """Return what the files of /dev/shm take that a process or its descendants have mapped, in MB."""
    paths = set()
    for member in family(pid):
        try:
            maps = (_PROC / str(member) / "maps").read_text()
        except OSError:
            continue  # it ended meanwhile
        paths |= {line[line.index(_SHARED) :] for line in maps.splitlines() if _SHARED in line}
    total = 0
    for path in paths:
        try:
            total += Path(path).stat().st_blocks * 512
        except OSError:
            continue  # unlinked: no longer in /dev/shm, and counted in PSS
    return total / _MB


def weights_megabytes(folder: Path) -> float:
    """Return the size of an artifact's folder in MB."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / _MB

"""Memory of a server on this machine: its process, what that started, and its shared memory."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

_LISTENS = "0A"
_PROC = Path("/proc")
_SHARED_MEMORY = "/dev/shm/"
# listens for a container, whose processes it says nothing about
_PROXY = "docker-proxy"
_FIELDS = {"Rss": "rss", "Pss": "pss"}


def is_local(host: str) -> bool:
    """Return whether a host name means this machine's loopback."""
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host.strip("[]"), None)}
    except OSError:
        return False
    return all(ipaddress.ip_address(str(address)).is_loopback for address in found)


def used(port: int) -> dict[str, float]:
    """Return MB (10^6 bytes) of the processes behind a listening port of this machine.

    `pss` shares what several processes map among them, `rss` counts it in each; `peak_rss` sums the
    highest of each since it began; `shared` is what they keep in /dev/shm. Nothing where /proc does
    not show them: another user's, or another container's.
    """
    tree = _descendants(_listeners(port))
    found = {"pss": 0.0, "rss": 0.0, "peak_rss": 0.0}
    for process in tree:
        for name, value in _sizes(process).items():
            found[name] += value
    if not found["rss"]:
        return {}
    found["shared"] = _shared(tree)
    return {**{name: round(value / 1e6, 1) for name, value in found.items()}, "processes": len(tree)}


def each(port: int) -> list[dict[str, float]]:
    """Return bytes of each process behind a listening port of this machine: `rss`, `pss` and `peak_rss`."""
    return [sizes for process in _descendants(_listeners(port)) if (sizes := _sizes(process))]


def _listeners(port: int) -> set[int]:
    """Return the processes that hold a listening socket of that port."""
    sockets = set()
    for table in ("tcp", "tcp6"):
        for line in _lines(_PROC / "net" / table)[1:]:
            fields = line.split()
            if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                sockets.add(f"socket:[{fields[9]}]")
    return {
        process
        for process in _processes()
        if sockets & _open_files(process) and _lines(_PROC / str(process) / "comm") != [_PROXY]
    }


def _descendants(roots: set[int]) -> set[int]:
    children: dict[int, list[int]] = {}
    for process in _processes():
        # the command's name, in parentheses, may hold spaces
        status = "".join(_lines(_PROC / str(process) / "stat")).rpartition(")")[2].split()
        if status:
            children.setdefault(int(status[1]), []).append(process)
    waiting, found = list(roots), set()
    while waiting:
        process = waiting.pop()
        if process not in found:
            found.add(process)
            waiting += children.get(process, [])
    return found


def _sizes(process: int) -> dict[str, float]:
    found = {}
    for line in _lines(_PROC / str(process) / "smaps_rollup"):
        name, _, rest = line.partition(":")
        if name in _FIELDS:
            found[_FIELDS[name]] = float(rest.split()[0]) * 1024
    for line in _lines(_PROC / str(process) / "status"):
        if line.startswith("VmHWM:"):
            found["peak_rss"] = float(line.split()[1]) * 1024
    return found


def _shared(tree: set[int]) -> float:
    paths = {
        line.split(maxsplit=5)[5]
        for process in tree
        for line in _lines(_PROC / str(process) / "maps")
        if _SHARED_MEMORY in line
    }
    total = 0.0
    for path in paths:
        try:
            total += Path(path).stat().st_blocks * 512
        except OSError:
            pass  # unlinked: nobody else can find it either
    return total


def _processes() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def _open_files(process: int) -> set[str]:
    found = set()
    try:
        for entry in (_PROC / str(process) / "fd").iterdir():
            try:
                found.add(str(entry.readlink()))
            except OSError:
                pass  # closed meanwhile
    except OSError:
        pass  # ended meanwhile, or not ours to see
    return found


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []

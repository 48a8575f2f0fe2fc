"""Read Triton's log: the only place where it says why a model was never polled, or what hangs."""

from __future__ import annotations

import re

# I1121 04:22:28.893311 6981 grpc_server.cc:2558] "Started ..."
_ENTRY = re.compile(r'^(?P<level>[IWEF])\d{4} \S+ \d+ [\w.]+:\d+\] "?(?P<message>.*?)"?$')
_PROTOBUF = re.compile(r"^\[libprotobuf ERROR .*?\] (?P<message>Error parsing text-format .*)$")
_POLL = "Poll failed for model directory '{model}': "
_LOADING = re.compile(r"^loading: (?P<model>.+):-?\d+$")
_DONE = re.compile(r"^(?:successfully loaded|failed to load) '(?P<model>[^']+)'")
_ABORTED = "terminate called "
_PORT_TAKEN = re.compile(r"already in use|failed to start .* service", re.IGNORECASE)
# Tables, C++ stack frames, and what every machine without a GPU prints.
_NOISE = re.compile(r"[+|]|\s*\d+# |Error: Failed to initialize NVML")


def reason(model: str, log: str) -> str | None:
    """Return why Triton did not serve `model`, in its own words; None when the log does not say."""
    protobuf = ""
    said: list[str] = []
    for line in log.splitlines():
        parse_error = _PROTOBUF.match(line)
        if parse_error:
            # The line names no file; Triton polls one model at a time and names it on the next line.
            protobuf = parse_error["message"]
            continue
        level, message = _split(line)
        if level not in ("E", "F"):
            continue
        start = _POLL.format(model=model)
        if message.startswith(start):
            return message.removeprefix(start) + (f"\n{protobuf}" if protobuf else "")
        protobuf = ""
        if re.search(rf"(?<![\w.-]){re.escape(model)}(?![\w-])", message):
            said.append(message)
    return said[-1] if said else None


def still_loading(log: str) -> list[str]:
    """Return the models that began to load and neither succeeded nor failed."""
    loading: dict[str, None] = {}
    for line in log.splitlines():
        _, message = _split(line)
        begun, done = _LOADING.match(message), _DONE.match(message)
        if begun:
            loading[begun["model"]] = None
        elif done:
            loading.pop(done["model"], None)
    return list(loading)


def aborted(log: str) -> bool:
    """Return whether a C++ program, Triton itself or a model's process, ended by an exception of its own."""
    return any(line.startswith(_ABORTED) for line in log.splitlines())


def port_was_taken(log: str) -> bool:
    """Return whether Triton gave up because another program had bound one of its ports."""
    return any(_split(line)[0] == "E" and _PORT_TAKEN.search(line) for line in log.splitlines())


def last_lines(log: str, count: int = 8) -> str:
    """Return the last lines of the log without tables and stack frames, newest last."""
    lines = [line for line in log.splitlines() if line.strip() and not _NOISE.match(line)]
    return "\n".join(lines[-count:])


def printed(log: str, count: int = 5) -> str:
    """Return the last lines that are not Triton's: what the models themselves have printed."""
    lines = last_lines(log, count=len(log)).splitlines()
    return "\n".join([line for line in lines if not _ENTRY.match(line)][-count:]) or "(nothing)"


def _split(line: str) -> tuple[str, str]:
    """Return (level letter, unescaped message); an empty level for a line that is not Triton's."""
    entry = _ENTRY.match(line)
    if entry is None:
        return "", line
    return entry["level"], entry["message"].replace("\\n", "\n").replace('\\"', '"')

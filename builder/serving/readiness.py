"""Is this Triton really ready? Its health call alone does not tell (it is 200 with models missing)."""

from __future__ import annotations

import http.client
import re
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

from builder import probes
from builder.errors import ServeError
from builder.finding import Finding
from builder.layout import Layout, Model
from builder.probes import Probe
from builder.server import Server
from builder.serving import rest, triton_log

_PAUSE = 0.02
# Seconds in which Triton may notice that a process of its own has aborted; of some it never hears.
_TO_NOTICE = 5.0
# Seconds between two looks at the log, which grows with every model.
_BETWEEN_LOOKS = 0.5
_STUB_DIED = "is not healthy"
_LACKING = re.compile(r"No module named '([^'.]+)")
_INSTALL = (
    "install what brings the Python module {module} where the models run; the embedded server's run in the "
    "environment of builder itself"
)
# Seconds of further responses that are read from a model that cannot be told to stop. Leaving sooner is
# not free: Triton 2.51 dies of SIGSEGV when it is stopped while a model sends to a client that has left.
_PROBE_PATIENCE = 5.0


def wait_until_live(server: Server, deadline: float, timeout: float) -> None:
    """Return once Triton answers, which it does after every model has loaded or failed.

    Raises:
        ServeError: Triton ended, a model's process aborted before Triton knew it, or `deadline`
            (time.monotonic) has passed; the log says why.
    """
    aborted, look = float("inf"), time.monotonic()
    while not rest.is_live(server.http):
        if not server.alive():
            code = server.exit_code()
            raise ServeError(
                f"Triton ended during the boot (exit code {code}); its last words:\n{_quote(server)}",
                expected="a server that answers",
                remedy=_see_log(server),
            )
        now = time.monotonic()
        if now >= look:
            look = now + _BETWEEN_LOOKS
            if triton_log.aborted(server.log()):
                aborted = min(aborted, now + _TO_NOTICE)
        if aborted < now <= deadline:
            loading = triton_log.still_loading(server.log())
            raise ServeError(
                f"the process of {' or '.join(loading) or 'a model'} has aborted, and Triton waits for it; "
                f"its last words:\n{_quote(server)}",
                expected="a process that loads its model",
                remedy=_see_log(server),
            )
        if now > deadline:
            loading = triton_log.still_loading(server.log())
            what = f"still loading: {', '.join(loading)}" if loading else "no model was loading"
            raise ServeError(
                f"Triton did not answer within {timeout:g} s; {what}; its last words:\n{_quote(server)}",
                expected="every model loaded by then",
                remedy=f"allow more with --timeout, or look at {', '.join(loading) or 'the log'}"
                + (f"; {_see_log(server)}" if server.log_path() else ""),
            )
        time.sleep(_PAUSE)


def require_index(server: Server, layout: Layout, findings: Sequence[Finding]) -> None:
    """Raise ServeError with Triton's own reason for every model of the folder that is not READY."""
    index = rest.repository_index(server.http)
    log = server.log()
    served = {entry["name"] for entry in index if entry.get("state") == "READY"}
    failed = {
        entry["name"]: entry.get("reason", "") for entry in index if entry.get("state") not in (None, "READY")
    }
    missing = [name for name in layout.models if name not in served or name in failed]
    if not missing:
        return
    lines = []
    remedies = [f"{finding.address}: {finding.remedy}" for finding in findings if finding.model in missing]
    for name in missing:
        # An ensemble that lost a step says so only in the log; so does whatever failed before loading.
        said = failed.get(name) or triton_log.reason(name, log) or "Triton gives no reason in its log"
        if _STUB_DIED in said:
            said += "\nthe model's process died; it printed last:\n" + triton_log.printed(log)
        lines.append(f"{name}: {_readable(said)}")
        remedies += [_INSTALL.format(module=module) for module in _LACKING.findall(said)]
    raise ServeError(
        f"{len(missing)} of {len(layout.models)} models did not load; Triton's reasons:\n"
        + textwrap.indent("\n".join(lines), "  "),
        expected=f"READY: {', '.join(layout.models)}",
        remedy="\n".join([*(dict.fromkeys(remedies) or ["mend what Triton names"]), _see_log(server)]),
    )


def require_ready_index(server: Server) -> None:
    """Raise ServeError when a server whose folder is not known has a model that is not READY."""
    broken = [entry for entry in rest.repository_index(server.http) if entry.get("state") != "READY"]
    if broken:
        reasons = "\n".join(f"  {entry['name']}: {entry.get('reason', 'never loaded')}" for entry in broken)
        raise ServeError(
            f"{server.http} has models that are not READY:\n{reasons}", remedy="see the server's log"
        )


def require_answers(server: Server, layout: Layout, deadline: float) -> None:
    """Send a real request to each front, else to each decoupled text model; raise ServeError on an error.

    Models we know nothing of were READY, and that is all one can ask of them.
    """
    models = [model for model in layout.models.values() if model.config is not None]
    fronts = [model for model in models if model.has_manifest]
    for model in fronts or [model for model in models if _is_decoupled(model) and _takes_only_text(model)]:
        _require_answer(server, probes.probe(model), deadline)


def _require_answer(server: Server, probe: Probe, deadline: float) -> None:
    timeout = max(1.0, deadline - time.monotonic())
    try:
        streams = probe.path.endswith("/generate")
        problem = _streamed(server, probe, timeout) if streams else _answered(server, probe, timeout)
    except (OSError, http.client.HTTPException) as error:
        problem = f"{type(error).__name__}: {error}"
    if problem:
        raise ServeError(
            f"{probe.model} is READY, but its first request to {probe.path} failed: {_readable(problem)}",
            expected="an answer",
            remedy=_see_log(server),
        )


def _streamed(server: Server, probe: Probe, timeout: float) -> str:
    """Return what is wrong with an answer that comes in parts, "" for nothing."""
    problem = "no response at all"
    enough = time.monotonic() + _PROBE_PATIENCE
    for event in rest.stream(server.http, f"{probe.path}_stream", probe.body, timeout=timeout):
        problem = str(event.get("error", ""))
        if problem or time.monotonic() > enough:
            break
    return problem


def _answered(server: Server, probe: Probe, timeout: float) -> str:
    """Return what is wrong with an answer that comes at once, "" for nothing."""
    method = "GET" if probe.body is None else "POST"
    status, said = rest.call(server.http, method, probe.path, body=probe.body, timeout=timeout)
    return "" if status == 200 else str(said.get("error", said) if isinstance(said, dict) else said)


def _takes_only_text(model: Model) -> bool:
    tensors = model.inputs()
    return "text_input" in tensors and all(
        name == "text_input" or tensor.optional for name, tensor in tensors.items()
    )


def _is_decoupled(model: Model) -> bool:
    return bool(model.config.model_transaction_policy.decoupled)


def _readable(reason: str) -> str:
    """Return Triton's reason without blank lines and without Python's own import machinery."""
    lines = [line for line in reason.splitlines() if line.strip() and "<frozen importlib" not in line]
    return textwrap.indent("\n".join(lines), "    ").strip()


def _quote(server: Server) -> str:
    return textwrap.indent(triton_log.last_lines(server.log()) or "(it said nothing)", "  ")


def _see_log(server: Server) -> str:
    path: Path | None = server.log_path()
    return f"Triton's whole log: {path}" if path else "see the log of the server"

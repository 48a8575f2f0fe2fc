"""The gateway beside a deployment's Triton, as two more services: itself, and a proxy that speaks TLS."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import builder
from builder import house

PORT = 8080
"""The gateway's own, inside its container."""

PROXY = "caddy:2.11.4-alpine"

_PINS = "gateway.txt"
_HEALTH = (
    f"import http.client as http; asked = http.HTTPConnection('127.0.0.1', {PORT}, timeout=8); "
    "asked.request('GET', '/health'); raise SystemExit(asked.getresponse().status != 200)"
)


def values(address: str, port: int, output: Path, *, exit_timeout: int) -> dict[str, Any]:
    """Return what the templates say of the gateway.

    Args:
        address, port: of this machine, where it is published.
        output: the folder of compose.yaml.
        exit_timeout: seconds for streams at the end.
    """
    command = ["gateway", "--triton", "grpc://triton:8001", "--host", "0.0.0.0", "--port", str(PORT)]
    return {
        "gateway_packages": packages(),
        "gateway_command": [*command, "--exit-timeout", str(exit_timeout)],
        "gateway_health": ["CMD", "python", "-c", _HEALTH],
        "gateway_port": f"{address}:{port}:{PORT}",
        "gateway_inside": PORT,
        "proxy_image": PROXY,
        "package": package(output),
    }


def packages() -> list[str]:
    """Return the pins `name==version` of its image."""
    lines = (house.folder("docker") / _PINS).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


def package(output: Path) -> str:
    """Return the folder of this very program: relative where compose.yaml lies in the same clone."""
    found = Path(builder.__file__).resolve().parent
    near = output.resolve().is_relative_to(found.parent)
    return os.path.relpath(found, output.resolve()) if near else str(found)

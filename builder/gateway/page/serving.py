"""The page's files at / and /page: static, revalidated, and under a policy that lets nothing else run.

They are the same for everybody and hold no secret: a browser must have them before it can send a key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

PATH = "/"
PATH_OF_FILES = "/page"
FOLDER = Path(__file__).parent / "files"

# what an answer makes the page load or run is nothing (w3.org/TR/CSP3, w3.org/TR/trusted-types)
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    # a newer gateway brings a newer page
    "cache-control": "no-cache",
}


class Files(StaticFiles):
    """The files with their headers."""

    def file_response(self, *arguments: Any, **named: Any) -> Response:
        """Return one of them, or 304 where the browser has it."""
        response = super().file_response(*arguments, **named)
        response.headers.update(HEADERS)
        return response


def attach(app: Starlette) -> None:
    """Serve the page of this application."""
    files = Files(directory=FOLDER)

    async def index(request: Request) -> Response:
        return await files.get_response("index.html", request.scope)

    app.add_route(PATH, index, include_in_schema=False)
    app.mount(PATH_OF_FILES, files)


def holds(path: str) -> bool:
    """Say whether a path is the page's, which a browser without a key may have."""
    return path == PATH or path.startswith(f"{PATH_OF_FILES}/")

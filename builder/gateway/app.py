"""The ASGI application, put together: which endpoints, which guards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

import builder
from builder.gateway import orphans
from builder.gateway.bounds import Bounded
from builder.gateway.door import Door, Settings
from builder.gateway.doors import ollama, tgi
from builder.gateway.guard import Guarded
from builder.gateway.keys.clerk import Clerk
from builder.gateway.page import serving as page
from builder.gateway.protocol import (
    answers,
    chat,
    completions,
    embeddings,
    errors,
    health,
    metrics,
    models,
    openapi,
    rerank,
    responses,
    schemas,
    sse,
    tokenize,
)
from builder.gateway.protocol.answers import Answer
from builder.gateway.protocol.errors import ApiError
from builder.gateway.protocol.metering import Metered, Meters, shared
from builder.gateway.protocol.shapes import Schema
from builder.gateway.routed import Routed
from builder.gateway.routing.figures import Figures
from builder.gateway.routing.live import Routing
from builder.gateway.triton.catalogue import Catalogue
from builder.gateway.triton.connection import Connection

_BODIES = 16
"""Of the largest size that may be on their way at once; there is room for many more of the usual size."""

Endpoint = Callable[[Door, Request], Awaitable[Response]]

# method, path, what answers, the schema of its body, what it answers with
ENDPOINTS: tuple[tuple[str, str, Endpoint, Schema | None, Answer], ...] = (
    ("POST", chat.PATH, chat.answer, schemas.chat(), answers.CHAT),
    ("POST", completions.PATH, completions.answer, schemas.completions(), answers.COMPLETION),
    ("POST", embeddings.PATH, embeddings.answer, schemas.embeddings(), answers.EMBEDDINGS),
    ("POST", responses.PATH, responses.answer, schemas.responses(), answers.RESPONSE),
    *(("POST", path, rerank.answer, schemas.rerank(), answers.RANKING) for path in rerank.PATHS),
    ("POST", ollama.CHAT_PATH, ollama.chat, schemas.ollama("messages"), answers.OLLAMA_CHAT),
    ("POST", ollama.GENERATE_PATH, ollama.generate, schemas.ollama("prompt"), answers.OLLAMA_GENERATED),
    ("GET", ollama.TAGS_PATH, ollama.tags, None, answers.TAGS),
    ("GET", ollama.VERSION_PATH, ollama.version, None, answers.VERSION),
    ("POST", tgi.PATH, tgi.generate, schemas.tgi(tgi.WITHOUT_EFFECT), answers.GENERATED),
    ("POST", tgi.STREAM_PATH, tgi.generate_stream, schemas.tgi(tgi.WITHOUT_EFFECT), answers.GENERATED_STREAM),
    ("GET", models.PATH, models.answer, None, answers.MODELS),
    ("GET", models.PATH_OF_ONE, models.answer_of_one, None, answers.MODEL),
    ("POST", tokenize.PATH, tokenize.answer, schemas.tokenize(), answers.TOKENS),
    ("POST", tokenize.PATH_BACK, tokenize.answer_back, schemas.detokenize(), answers.TEXT_OF_TOKENS),
    ("GET", health.PATH, health.answer, None, answers.HEALTH),
    ("GET", metrics.PATH, metrics.answer, None, answers.METRICS),
)


def create(settings: Settings) -> FastAPI:
    """Return the application of one worker."""

    books = Clerk(settings.keys) if settings.keys else None
    meters = Meters()
    routing = Routing(settings.routes, shared("routing.sqlite"), meters.take_back)
    meters.add(Figures(routing))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        orphans.end_with_parent()
        if books is not None:
            await books.start()
        await routing.start()
        connection = Connection(settings.triton)
        catalogue = Catalogue(connection)
        app.state.door = Door(settings, connection, catalogue, meters, routing)
        await catalogue.look()
        watching = [
            asyncio.create_task(catalogue.watch()),
            asyncio.create_task(routing.watch(catalogue.loaded)),
        ]
        yield
        for task in watching:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await routing.close()
        await connection.close()
        if books is not None:
            await books.close()

    app = FastAPI(title="builder gateway", version=builder.__version__, lifespan=lifespan)
    for method, path, endpoint, body, answered in ENDPOINTS:
        app.add_api_route(
            path,
            _route(endpoint),
            methods=[method],
            openapi_extra=openapi.operation(path, body, answered),
            response_class=Response,
            summary=(endpoint.__doc__ or "").partition(". Raises")[0].rstrip("."),
        )
    openapi.publish(app, with_keys=books is not None)
    page.attach(app)
    app.add_exception_handler(ApiError, _refuse)
    app.add_exception_handler(HTTPException, _refuse_http)
    app.add_exception_handler(Exception, _fail)
    app.add_middleware(Routed, routing=routing, meters=meters)
    app.add_middleware(
        Bounded,
        most=settings.most_requests,
        most_bytes=_BODIES * settings.most_body_bytes,
        seconds=settings.body_seconds,
    )
    if books is not None:
        # outside of all else: who has no key takes no place either
        app.add_middleware(Guarded, books=books, prices=settings.prices)
    # outermost: what the others refuse is counted too
    app.add_middleware(Metered, meters=meters, paths=[path for _, path, *_ in ENDPOINTS])
    return app


def _route(endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return await endpoint(request.app.state.door, request)

    return answer


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return sse.error_response(error)


async def _refuse_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path}: {error.detail}"
    code = "unknown_url" if error.status_code == 404 else None
    refused = ApiError(error.status_code, message, code=code)
    is_ollama = request.url.path.startswith(ollama.PREFIX)
    response = ollama.refusal(refused) if is_ollama else sse.error_response(refused)
    response.headers.update(error.headers or {})
    return response


async def _fail(request: Request, error: Exception) -> Response:
    # the log has it whole
    return sse.error_response(ApiError(500, "the gateway failed: its log says why", kind=errors.SERVER))

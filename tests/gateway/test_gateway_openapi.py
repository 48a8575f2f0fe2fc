"""The published OpenAPI is true: requests made from it get answers that it tells of, whatever they hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
import schemathesis
from echoing_repository import NAME
from gateway_process import Gateway
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from builder.gateway.app import ENDPOINTS
from builder.gateway.protocol import rerank
from builder.gateway.protocol.shapes import FLAG, closed, one_of

pytestmark = pytest.mark.triton
ALWAYS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
HONEST = ("/tokenize", "/v1/models", "/api/tags", "/health", "/metrics")
"""Whatever fits the schema is answered here. Elsewhere more is asked: that a prompt fits the context, that a
stop text fits the engine, that one parameter goes with another, which no schema of one body can say."""


def is_rejected(context: Any, response: Any, case: Any) -> bool | None:
    """Expect an error of the client's; what has too many items may also be too large (413)."""
    if response.status_code == 413:
        return None
    told: bool | None = checks.negative_data_rejection(context, response, case)
    return told


@pytest.fixture(scope="module")
def operations(echo: Gateway) -> dict[str, Any]:
    return found(echo)


def found(gateway: Gateway) -> dict[str, Any]:
    """Return the operations that a gateway publishes, by method and path."""
    schema = schemathesis.openapi.from_url(f"http://{gateway.address}/openapi.json")
    told = [result.ok() for result in schema.get_all_operations()]
    return {f"{one.method.upper()} {one.path}": one for one in told}


def run(operation: Any, mode: Any, examples: int, more: list[Callable[..., Any]], model: str = NAME) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def conforms(case: Any) -> None:
        # names made at random hardly reach one
        if isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
            case.body["model"] = model
        case.call_and_validate(checks=[*ALWAYS, *more], timeout=60)

    conforms()


def names() -> list[str]:
    return [f"{method} {path}" for method, path, *_ in ENDPOINTS]


AMOUNTS = [
    pytest.param(5, id="few"),
    pytest.param(150, id="many", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("examples", AMOUNTS)
@pytest.mark.parametrize("name", names())
def test_what_fits(name: str, examples: int, operations: dict[str, Any]) -> None:
    more = [checks.positive_data_acceptance] if name.rpartition(" ")[2] in HONEST else []
    run(operations[name], GenerationMode.POSITIVE, examples, more)


@pytest.mark.parametrize("examples", AMOUNTS)
@pytest.mark.parametrize("name", [name for name in names() if name.startswith("POST")])
def test_what_does_not_fit(name: str, examples: int, operations: dict[str, Any]) -> None:
    run(operations[name], GenerationMode.NEGATIVE, examples, [is_rejected])


def test_null_fits_whatever_may_be_absent() -> None:
    for schema in (FLAG, one_of(1, 2), {"type": "boolean", "const": False}):
        jsonschema.validate({"it": None}, closed({}, {"it": schema}))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "model"), [("/v1/embeddings", "minilm"), *((path, "ranker") for path in rerank.PATHS[:1])]
)
def test_what_real_encoders_answer(name: str, model: str, real: Gateway) -> None:
    operation = found(real)[f"POST {name}"]
    run(operation, GenerationMode.POSITIVE, 40, [], model)
    run(operation, GenerationMode.NEGATIVE, 40, [is_rejected], model)


def test_every_endpoint_is_there(operations: dict[str, Any]) -> None:
    assert set(operations) == set(names())

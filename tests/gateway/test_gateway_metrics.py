"""/metrics: what was asked of the gateway, counted."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from echoing_repository import ENDLESS, NAME
from gateway_process import Gateway, events, running
from processes import until
from prometheus_client.parser import text_string_to_metric_families

from builder.server import Server

pytestmark = pytest.mark.triton
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
HELLO = [{"role": "user", "content": "a bird"}]
FOR_EVER = [{"role": "user", "content": f"you {ENDLESS}"}]


@pytest.fixture(scope="module", params=[1, 2])
def gateway(echoing: Server, request: pytest.FixtureRequest) -> Iterator[Gateway]:
    """One process, and two that count together."""
    with running(echoing.grpc, "--workers", str(request.param)) as made:
        yield made


def samples(gateway: Gateway) -> dict[tuple[str, ...], float]:
    """Return the figures by name and the values of their labels, both in the order of the alphabet."""
    status, headers, body = gateway.request("GET", "/metrics")
    assert status == 200 and headers["content-type"].startswith("text/plain")
    found = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            labels = [sample.labels[name] for name in sorted(sample.labels)]
            found[sample.name.removeprefix("builder_gateway_"), *labels] = sample.value
    return found


class Since:
    """What was added since it was made."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._before = samples(gateway)

    def __call__(self, *name: str) -> float:
        return samples(self._gateway).get(name, 0) - self._before.get(name, 0)


def test_requests_by_path_model_and_status(gateway: Gateway) -> None:
    added = Since(gateway)
    for _ in range(3):
        assert gateway.post(CHAT, model=NAME, messages=HELLO)[0] == 200
    assert gateway.post(CHAT, model=NAME, messages=HELLO, temperature=9)[0] == 400
    assert gateway.post(CHAT, model="nobody", messages=HELLO)[0] == 404
    assert gateway.get("/v9/nothing")[0] == 404
    until(lambda: added("requests_total", NAME, CHAT, "200") == 3)
    until(lambda: added("requests_total", NAME, CHAT, "400") == 1)
    until(lambda: added("requests_total", "", CHAT, "404") == 1)
    # neither names of models nor paths that anyone makes up become series
    until(lambda: added("requests_total", "", "other", "404") == 1)


def test_tokens(gateway: Gateway) -> None:
    added = Since(gateway)
    usage = gateway.post(CHAT, model=NAME, messages=HELLO)[1]["usage"]
    with gateway.streaming(CHAT, model=NAME, messages=HELLO) as told:
        list(events(told))
    until(lambda: added("tokens_total", "prompt", NAME) == 2 * usage["prompt_tokens"])
    until(lambda: added("tokens_total", "completion", NAME) == 2 * usage["completion_tokens"])


def test_streams_and_their_first_events(gateway: Gateway) -> None:
    added = Since(gateway)
    begun = time.monotonic()
    with gateway.streaming(CHAT, model=NAME, messages=FOR_EVER) as response:
        next(events(response))
        seconds = time.monotonic() - begun
        until(lambda: samples(gateway).get(("streams_open", NAME)) == 1)
        assert added("time_to_first_token_seconds_count", NAME) == 1
        assert 0 < added("time_to_first_token_seconds_sum", NAME) <= seconds
    until(lambda: samples(gateway).get(("streams_open", NAME)) == 0)
    # the client left
    until(lambda: added("requests_total", NAME, CHAT, "499") == 1)


@pytest.mark.slow
def test_a_stream_that_an_error_ends(real: Gateway) -> None:
    added = Since(real)
    fields = {"model": "smollm2", "messages": HELLO, "ignore_eos": True}
    with real.streaming(CHAT, **fields, timeout=1.5) as response:
        assert response.status == 200
        *_, last = events(response)
    assert last["error"]["code"] == "timeout"
    until(lambda: added("requests_total", "smollm2", CHAT, "408") == 1)
    until(lambda: added("streams_open", "smollm2") == 0)


def test_what_has_no_stream_has_no_first_event(gateway: Gateway) -> None:
    added = Since(gateway)
    assert gateway.post(COMPLETIONS, model=NAME, prompt="a bird")[0] == 200
    until(lambda: added("requests_total", NAME, COMPLETIONS, "200") == 1)
    assert added("time_to_first_token_seconds_count", NAME) == 0

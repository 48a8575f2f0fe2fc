"""Which model is asked: the one that is named, or the only one that clients talk to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from builder.errors import UsageError
from builder.measuring import front
from builder.measuring.errors import MeasureError

Serve = Callable[..., str]


def model(
    name: str, *, decoupled: bool = False, steps: tuple[str, ...] = (), text: bool = True
) -> dict[str, Any]:
    tensor = {"name": "text_input" if text else "x", "data_type": "TYPE_STRING", "dims": [1]}
    return {
        "name": name,
        "platform": "ensemble" if steps else "",
        "max_batch_size": 4,
        "input": [tensor, {"name": "k", "data_type": "TYPE_INT32", "dims": ["-1", "2"], "optional": True}],
        "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [1]}],
        "model_transaction_policy": {"decoupled": decoupled},
        **({"ensemble_scheduling": {"step": [{"model_name": one} for one in steps]}} if steps else {}),
    }


EMBEDDING = (
    model("e_tokenizer"),
    model("e_encoder", text=False),
    model("e", steps=("e_tokenizer", "e_encoder")),
)
LANGUAGE = (
    model("l", decoupled=True),
    model("l_tokenizer"),
    model("l_detokenizer", text=False),
    model("l_ensemble", decoupled=True, steps=("l_tokenizer", "l", "l_detokenizer")),
)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serve an index and configurations; the address."""
    servers: list[ThreadingHTTPServer] = []

    def start(*models: dict[str, Any], unready: str = "") -> str:
        pages = {f"/v2/models/{one['name']}/config": one for one in models if one["name"] != unready}
        index = [{"name": one["name"]} for one in models]

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = index if self.path == "/v2/repository/index" else pages.get(self.path)
                body = json.dumps(found or {"error": "not ready"}).encode()
                self.send_response(200 if found else 400)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, format: str, *arguments: object) -> None:
                """Say nothing."""

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, args=(0.02,), daemon=True).start()
        return f"127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("models", "name", "streams"),
    [
        (EMBEDDING, "e", False),
        (LANGUAGE, "l", True),
        ((model("table", text=False),), "table", False),
        ((*EMBEDDING, model("driven", decoupled=True, text=False)), "e", False),
    ],
)
def test_the_only_front_needs_no_name(
    serve: Serve, models: tuple[dict[str, Any], ...], name: str, streams: bool
) -> None:
    found = front.find(serve(*models), None)
    assert (found.name, found.streams, found.batched) == (name, streams, True)


def test_what_it_takes_is_read(serve: Serve) -> None:
    found = front.find(serve(*EMBEDDING), None)
    assert found.inputs == {"text_input": "BYTES", "k": "INT32"}
    assert found.dims == {"text_input": (1,), "k": (-1, 2)}
    assert found.required == ("text_input",)
    assert found.outputs == ("y",)


def test_several_fronts_need_a_name(serve: Serve) -> None:
    address = serve(*EMBEDDING, *LANGUAGE, model("helper"))
    with pytest.raises(UsageError, match="3 models at") as refused:
        front.find(address, None)
    assert refused.value.expected == "a NAME out of e, helper, l"
    assert front.find(address, "e").name == "e"


def test_manifests_say_which_are_fronts(serve: Serve) -> None:
    address = serve(*EMBEDDING, model("helper"), model("other"))
    assert front.find(address, None, {"e"}).name == "e"
    # what was published elsewhere says nothing about this server
    with pytest.raises(UsageError, match="a NAME out of e, helper, other"):
        front.find(address, None, {"gone"})
    with pytest.raises(UsageError, match="a NAME out of e, other"):
        front.find(address, None, {"e", "other"})


def test_a_step_can_be_measured_by_its_name(serve: Serve) -> None:
    assert not front.find(serve(*LANGUAGE), "l_tokenizer").streams


def test_a_stream_of_something_else_is_refused(serve: Serve) -> None:
    with pytest.raises(UsageError, match="is decoupled but does not stream text"):
        front.find(serve(model("d", decoupled=True, text=False)), "d")


def test_a_model_that_is_not_served_is_passed_over(serve: Serve) -> None:
    address = serve(*EMBEDDING, model("broken"), unready="broken")
    assert front.find(address, None).name == "e"
    with pytest.raises(MeasureError, match="knows broken but does not serve it"):
        front.find(address, "broken")


def test_an_input_that_it_has_not_is_named(serve: Serve) -> None:
    found = front.find(serve(*EMBEDDING), None)
    found.require_input("k", "--extra")
    with pytest.raises(UsageError, match="--extra: e has no input text_inpt; did you mean text_input"):
        found.require_input("text_inpt", "--extra")

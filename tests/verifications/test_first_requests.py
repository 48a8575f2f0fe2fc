"""The first request to a front, by which a boot and a container's health tell that it answers."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scripted_pipelines

from builder import layout, probes
from builder.errors import ServeError
from builder.server import Server
from builder.triton_client import Client

ONE_PASS = tuple(scripted_pipelines.DEPLOYMENTS)


def body(repository: Path, name: str) -> dict[str, Any]:
    """Return what each input of a front is sent."""
    probe = probes.probe(layout.read(repository).models[name])
    assert probe.path == f"/v2/models/{name}/infer"
    assert probe.body is not None
    return {one["name"]: (one["datatype"], one["shape"], one["data"]) for one in probe.body["inputs"]}


@pytest.mark.triton
def test_a_boot_asks_every_front_once(boot: Callable[..., Server], tmp_path: Path) -> None:
    scripted_pipelines.write(tmp_path / "repository")
    server = boot(tmp_path / "repository")
    configs = {name: model.config for name, model in layout.read(tmp_path / "repository").models.items()}
    client = Client(server.http, server.grpc, None, configs)
    for name in ONE_PASS:
        told = client.call("grpc", "get_inference_statistics", name).model_stats[0]
        assert (told.inference_count, told.inference_stats.fail.count) == (1, 0), name


@pytest.mark.triton
@pytest.mark.parametrize(
    ("name", "graph"), [("ranks", "ranks_encoder"), ("table", "table"), ("pictures", "pictures")]
)
def test_a_front_that_is_ready_and_does_not_answer_is_no_boot(
    name: str, graph: str, boot: Callable[..., Server], tmp_path: Path
) -> None:
    scripted_pipelines.write(tmp_path / "repository", [name])
    model = tmp_path / "repository" / graph / "1" / "model.py"
    model.write_text(
        model.read_text().replace("time.sleep(", 'raise ValueError("no answer today")\n        (')
    )
    with pytest.raises(ServeError, match=rf"{name} is READY, but its first request .*no answer today"):
        boot(tmp_path / "repository")


def test_what_is_sent_was_recorded_of_the_source(written: Callable[[str], Path]) -> None:
    assert body(written("moods"), "moods") == {"text_input": ("BYTES", [1, 1], ["Hello"])}
    assert body(written("ranks"), "ranks") == {
        "query": ("BYTES", [1, 1], ["Say hello"]),
        "documents": ("BYTES", [1, 1], ["Hello"]),
    }
    assert body(written("table"), "table") == {
        "age": ("FP32", [1, 1], [20.5]), "visits": ("INT64", [1, 1], [0]),
        "city": ("BYTES", [1, 1], ["city 0"]),
    }  # fmt: skip
    (kind, shape, data) = body(written("norms"), "norms")["x"]
    assert (kind, shape[1], len(data)) == ("FP32", 3, shape[0] * 3)
    assert np.all(data)


def test_bytes_are_said_by_an_image_of_one_pixel(written: Callable[[str], Path]) -> None:
    image = pytest.importorskip("PIL.Image")
    kind, shape, (text,) = body(written("pictures"), "pictures")["image"]
    assert (kind, shape) == ("BYTES", [1, 1])
    assert json.loads(json.dumps(text)).isascii()
    read = image.open(io.BytesIO(text.encode("ascii")))
    assert (read.format, read.size, read.convert("RGB").getpixel((0, 0))) == ("BMP", (1, 1), (0, 0, 0))


@pytest.mark.parametrize("recorded", [None, "{", '{"format": 9}', "infinite"])
def test_without_a_record_that_json_can_hold_any_values_do(recorded: str | None, tmp_path: Path) -> None:
    scripted_pipelines.write(tmp_path, ["table"])
    file = tmp_path / "table" / "1" / "golden.json"
    told = json.loads(file.read_text())
    for ask in told["asks"]:
        ask["inputs"]["age"] = [float("inf")]
    file.unlink() if recorded is None else file.write_text(
        json.dumps(told) if recorded == "infinite" else recorded
    )
    assert body(tmp_path, "table") == {
        "age": ("FP32", [1, 1], [0.0]), "visits": ("INT64", [1, 1], [0]),
        "city": ("BYTES", [1, 1], ["Hello"]),
    }  # fmt: skip

"""Folders of NVIDIA's onnxruntime backend, served by ours: Triton 2.51, asked through its own clients."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import np_to_triton_dtype

from builder import check
from builder.check import Choice
from builder.errors import ServeError
from builder.rule import Host
from builder.serve import boot as boot_once
from builder.server import Options, Server
from builder.servers.embedded import EmbeddedServer
from builder.serving import rest
from builder.triton_client import client as clients
from builder.triton_client.answer import TritonError

HOSTS = (Host("24.10"), Host("26.08"))
# long enough that requests sent together are one batch
WAITS = "dynamic_batching { max_queue_delay_microseconds: 200000 }"
CPU = "instance_group { kind: KIND_CPU count: 1 }"
QUIET = 'parameters { key: "intra_op_thread_count" value { string_value: "1" } }'


def io(kind: str, name: str, data_type: str, dims: str, more: str = "") -> str:
    return f'{kind} {{ name: "{name}" data_type: TYPE_{data_type} dims: [ {dims} ] {more} }}\n'


def same(data_type: str, dims: str, more: str = "") -> str:
    """Return the config of a model that gives y for x."""
    return io("input", "x", data_type, dims, more) + io("output", "y", data_type, dims, more)


def config(tensors: str, batch: int = 8, more: str = "", group: str = CPU) -> str:
    return f"max_batch_size: {batch}\n{tensors}{group}\n{QUIET}\n{more}\n"


ADD = "".join(
    io(kind, name, "FP32", "4")
    for kind, name in (("input", "a"), ("input", "b"), ("output", "total"), ("output", "difference"))
)
RAGGED = "# check: ignore TRN614: what batch_output cuts is flat in the graph\n" + (
    io("input", "x", "FP32", "-1", "allow_ragged_batch: true")
    + io("output", "total", "FP32", "1")
    + io("output", "twice", "FP32", "-1")
    + 'batch_input { kind: BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO target_name: "bounds" '
    + 'data_type: TYPE_INT32 source_input: "x" }\n'
    + 'batch_output { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: "twice" source_input: "x" }\n'
)
WORKING = (
    io("input", "x", "FP32", "-1", "allow_ragged_batch: true")
    + io("output", "doubled", "FP32", "1")
    + 'batch_input { kind: BATCH_ELEMENT_COUNT target_name: "counts" '
    + 'data_type: TYPE_FP32 source_input: "x" }\n'
)
SEQUENCE = """sequence_batching { control_input { name: "w" control {
  kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] } } }"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("onnx")
    write = graphs.write
    write(home, "identity", graphs.identity(), config(same("FP32", "-1")))
    write(home, "half", graphs.identity(graphs.HALF), config(same("FP16", "-1"), more=WAITS))
    write(home, "truth", graphs.identity(graphs.BOOL), config(same("BOOL", "-1")))
    write(home, "text", graphs.identity(graphs.TEXT), config(same("STRING", "-1"), more=WAITS))
    write(home, "add", graphs.add(), config(ADD, more=WAITS))
    write(home, "ragged", graphs.segments(), config(RAGGED, more=WAITS))
    # its batches are spread over the cores, whose number nobody told
    write(home, "working", graphs.working(), f"max_batch_size: 8\n{WORKING}{CPU}\n{WAITS}\n")
    reshaped = same("FP32", "6", "reshape { shape: [ 2, 3 ] }")
    product = io("input", "x", "FP32", "-1") + io("output", "y", "FP32", "1")
    write(home, "product", multiplied(), config(product, more=WAITS))
    write(home, "reshaped", graphs.identity(dims=["n", 2, 3]), config(reshaped))
    write(home, "rows", graphs.identity(dims=["n"]), config(same("FP32", "1", "reshape { }")))
    write(home, "scalar", graphs.identity(dims=[]), config(same("FP32", "1"), batch=0))
    optional = same("FP32", "-1") + io("input", "w", "FP32", "1", "optional: true")
    write(home, "scaled", graphs.scaled(), config(optional, batch=0))
    elsewhere = config(same("FP32", "-1"), more='default_model_filename: "other.onnx"')
    write(home, "elsewhere", graphs.identity(), elsewhere, file="other.onnx")
    two = config(same("FP32", "-1"), more=WAITS, group="instance_group { kind: KIND_CPU count: 2 }")
    write(home, "two", graphs.identity(), two)
    write(home, "sequence", started(), config(same("FP32", "1"), more=SEQUENCE))
    labelled = config(
        io("input", "x", "FP32", "3") + io("output", "y", "FP32", "3", 'label_filename: "labels.txt"')
    )
    folder = write(home, "labelled", graphs.identity(dims=["n", 3]), labelled)
    (folder / "labels.txt").write_text("low\nmiddle\nhigh\n")
    return home


def started() -> Any:
    """Return y = x + 100 where a sequence begins."""
    nodes = [graphs.node("Mul", "w hundred", "more"), graphs.node("Add", "x more", "y")]
    inputs = [graphs.tensor(name, graphs.FLOAT, ["n", 1]) for name in ("x", "w")]
    output = graphs.tensor("y", graphs.FLOAT, ["n", 1])
    return graphs.graph(nodes, inputs, [output], hundred=np.array([100.0], np.float32))


def multiplied() -> Any:
    """Return x times a matrix of four rows, for an x that says nothing of its columns."""
    return graphs.graph(
        [graphs.node("MatMul", "x w", "y")],
        [graphs.tensor("x", graphs.FLOAT, ["n", "m"])],
        [graphs.tensor("y", graphs.FLOAT, ["n", 1])],
        w=np.ones((4, 1), np.float32),
    )


@pytest.fixture(scope="module")
def server(boot: Callable[..., Server], repository: Path) -> Server:
    return boot(repository, timeout=180.0)


@pytest.fixture(scope="module")
def client(server: Server, repository: Path) -> clients.Client:
    return client_of(server, repository)


def client_of(server: Server, repository: Path) -> clients.Client:
    configs = {
        file.parent.name: text_format.Parse(file.read_text(), model_config_pb2.ModelConfig())
        for file in repository.glob("*/config.pbtxt")
    }
    return clients.Client(server.http, server.grpc, server.metrics, configs)


def infer(client: clients.Client, model: str, over: str = "grpc", **arrays: Any) -> dict[str, Any]:
    raw = {
        name: clients.Raw(np_to_triton_dtype(array.dtype), array.shape, array)
        for name, array in arrays.items()
    }
    return client.infer(model, raw, over=over)


def executions(client: clients.Client, model: str) -> tuple[int, int]:
    """Return how many inferences and how many executions a model has made."""
    found = client.call("http", "get_inference_statistics", model)["model_stats"][0]
    return int(found["inference_count"]), int(found["execution_count"])


def together(count: int, ask: Callable[[int], Any]) -> list[Any]:
    """Ask from as many threads at once."""
    barrier = threading.Barrier(count)

    def one(place: int) -> Any:
        barrier.wait()
        return ask(place)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_the_folders_pass_the_check_of_both_releases(repository: Path) -> None:
    for host in HOSTS:
        found = check.check(repository, host=host)
        assert [str(one) for one in found if one.severity != "warning"] == []


@pytest.mark.triton
@pytest.mark.parametrize("over", ["grpc", "http"])
@pytest.mark.parametrize(
    ("model", "x"),
    [
        ("identity", np.arange(6, dtype=np.float32).reshape(2, 3)),
        ("half", np.array([[0.5, 65504.0], [-0.0, np.inf]], np.float16)),
        ("truth", np.array([[True, False, True]])),
        ("text", np.array([[b"plain", "이미".encode()], [b"", b"a\0b"]], object)),
        ("reshaped", np.arange(12, dtype=np.float32).reshape(2, 6)),
        ("rows", np.arange(3, dtype=np.float32).reshape(3, 1)),
        ("scalar", np.array([7.0], np.float32)),
        ("elsewhere", np.ones((1, 1), np.float32)),
        ("labelled", np.ones((1, 3), np.float32)),
    ],
)
def test_what_goes_in_comes_out(client: clients.Client, over: str, model: str, x: Any) -> None:
    y = infer(client, model, over, x=x)["y"]
    assert y.dtype == x.dtype
    assert y.shape == x.shape
    assert y.tolist() == x.tolist()


@pytest.mark.triton
def test_only_the_outputs_that_were_asked_for_come(client: clients.Client) -> None:
    a, b = np.full((2, 4), 5.0, np.float32), np.full((2, 4), 2.0, np.float32)
    whole = infer(client, "add", a=a, b=b)
    assert (whole["total"] == 7).all() and (whole["difference"] == 3).all()
    raw = {name: clients.Raw("FP32", array.shape, array) for name, array in (("a", a), ("b", b))}
    tensors = client.tensors(tritonclient.http, "add", raw)
    wanted = [tritonclient.http.InferRequestedOutput("difference")]
    found = client.call("http", "infer", "add", tensors, outputs=wanted)
    assert (found.as_numpy("difference") == 3).all()
    assert found.as_numpy("total") is None


@pytest.mark.triton
def test_many_threads_make_few_executions_and_get_their_own(client: clients.Client) -> None:
    before = executions(client, "add")

    def ask(place: int) -> Any:
        rows = 1 + place % 3
        a = np.full((rows, 4), place, np.float32)
        return infer(client, "add", a=a, b=np.ones_like(a))["total"]

    for place, total in enumerate(together(12, ask)):
        assert total.tolist() == [[place + 1.0] * 4] * (1 + place % 3)
    inferences, runs = (now - then for now, then in zip(executions(client, "add"), before, strict=True))
    assert inferences == sum(1 + place % 3 for place in range(12))
    assert 0 < runs < 12


@pytest.mark.triton
def test_ragged_requests_of_many_threads(client: clients.Client) -> None:
    before = executions(client, "ragged")

    def ask(place: int) -> Any:
        return infer(client, "ragged", x=np.full((1, 1 + place), place, np.float32))

    for place, found in enumerate(together(8, ask)):
        assert found["total"].tolist() == [[float(place * (1 + place))]]
        assert found["twice"].tolist() == [[2.0 * place] * (1 + place)]
    inferences, runs = (now - then for now, then in zip(executions(client, "ragged"), before, strict=True))
    assert inferences == 8
    assert runs < 8


@pytest.mark.triton
def test_who_is_done_is_answered_while_others_are_worked_on(client: clients.Client) -> None:
    """The first of a batch takes thousands of products; the others none, nor one that comes after them."""
    answered: list[str] = []

    def ask(name: str, turns: int, size: int = 200) -> Any:
        try:
            found = infer(client, "working", x=np.full((1, size), turns, np.float32))["doubled"].item()
        except TritonError as error:
            found = str(error)
        answered.append(name)
        return found

    def one(place: int) -> Any:
        if place == 0:
            return ask("long", 8_000)
        found = ask(f"short {place}", -5 if place == 5 else 0, 200 + place)
        return (found, ask("afterwards", 0)) if place == 1 else found

    found = together(6, one)
    assert answered[-1] == "long"
    assert found[:5] == [400.0, (402.0, 400.0), 404.0, 406.0, 408.0]
    assert "onnx runtime error" in found[5]


@pytest.mark.triton
def test_text_that_is_not_utf8_fails_alone(client: clients.Client) -> None:
    def ask(place: int) -> Any:
        text = b"\xff\xfe" if place == 1 else f"text {place}".encode()
        try:
            return infer(client, "text", x=np.array([[text]], object))["y"].item()
        except TritonError as error:
            return str(error)

    found = together(4, ask)
    assert "input 'x' is not valid UTF-8: 'utf-8' codec can't decode byte 0xff" in found.pop(1)
    assert found == [b"text 0", b"text 2", b"text 3"]


@pytest.mark.triton
def test_a_run_that_fails_harms_no_other(client: clients.Client) -> None:
    """The dims of the config are as open as the graph's: only ONNX Runtime knows better."""

    def ask(place: int) -> Any:
        try:
            return infer(client, "product", x=np.ones((1, 4 + place % 2), np.float32))["y"].item()
        except TritonError as error:
            return str(error)

    found = together(6, ask)
    assert found[::2] == [4.0] * 3
    assert all("onnx runtime error 1: " in said and "MatMul" in said for said in found[1::2])


@pytest.mark.triton
def test_an_input_that_has_a_value_may_be_left_out(client: clients.Client) -> None:
    x = np.array([1.0, 2.0], np.float32)
    assert infer(client, "scaled", x=x)["y"].tolist() == [2.0, 4.0]
    assert infer(client, "scaled", x=x, w=np.array([10.0], np.float32))["y"].tolist() == [10.0, 20.0]


@pytest.mark.triton
def test_two_instances_serve_at_once(client: clients.Client) -> None:
    found = together(8, lambda place: infer(client, "two", x=np.full((8, 1), place, np.float32))["y"])
    assert [array.ravel().tolist() for array in found] == [[float(place)] * 8 for place in range(8)]
    stats = client.call("http", "get_inference_statistics", "two")["model_stats"][0]
    assert int(stats["execution_count"]) == 8


@pytest.mark.triton
@pytest.mark.parametrize("module", [tritonclient.grpc, tritonclient.http], ids=["grpc", "http"])
def test_labels_of_the_classification_extension(client: clients.Client, module: Any) -> None:
    over = module.__name__.rpartition(".")[2]
    x = module.InferInput("x", [1, 3], "FP32").set_data_from_numpy(np.array([[0.5, 3.0, 2.0]], np.float32))
    output = module.InferRequestedOutput("y", class_count=2)
    found = client.call(over, "infer", "labelled", [x], outputs=[output]).as_numpy("y")
    assert [one.decode() for one in found.ravel()] == ["3.000000:1:middle", "2.000000:2:high"]


@pytest.mark.triton
def test_sequences_are_told_where_they_begin(client: clients.Client) -> None:
    """While the first rests, Triton fills its slot of the second's batch with a request of its own."""

    def ask(sequence: int, **told: bool) -> float:
        x = np.full((1, 1), sequence, np.float32)
        tensor = tritonclient.grpc.InferInput("x", [1, 1], "FP32").set_data_from_numpy(x)
        found = client.call("grpc", "infer", "sequence", [tensor], sequence_id=sequence, **told)
        return float(found.as_numpy("y").item())

    assert [ask(one, sequence_start=True) for one in (1, 2)] == [101.0, 102.0]
    assert [ask(2), ask(2, sequence_end=True), ask(1, sequence_end=True)] == [2.0, 2.0, 1.0]


@pytest.mark.triton
def test_what_is_worked_on_is_answered_before_the_server_ends(
    boot: Callable[..., Server], tmp_path: Path
) -> None:
    graphs.write(tmp_path, "working", graphs.working(), f"max_batch_size: 8\n{WORKING}{CPU}\n{WAITS}\n")
    server = boot(tmp_path, timeout=120.0)
    client = client_of(server, tmp_path)

    def ask(place: int) -> Any:
        return infer(client, "working", x=np.full((1, 200 + place), 8_000, np.float32))["doubled"].item()

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, place) for place in range(4)]
        wait(asked, return_when=FIRST_COMPLETED)
        assert not all(one.done() for one in asked)
        server.stop()
        assert [one.result() for one in asked] == [400.0, 402.0, 404.0, 406.0]


@pytest.mark.triton
def test_every_refusal_is_in_tritons_own_reason(tmp_path: Path) -> None:
    home = tmp_path / "repository"
    plain = config(same("FP32", "-1"))
    told = 'parameters { key: "execution_mode" value { string_value: "3" } }'
    bad: dict[str, tuple[Any, str, str]] = {
        "broken": (b"This is no ONNX", plain, "onnx runtime error 7: Load model from"),
        "brain": (
            graphs.identity(graphs.BRAIN),
            config(same("BF16", "-1")),
            "unsupported datatype TYPE_BF16 for input 'x' for model 'brain'",
        ),
        "wrong_type": (
            graphs.identity(),
            config(same("INT32", "-1")),
            "configuration expects datatype TYPE_INT32 for input 'x', model provides TYPE_FP32",
        ),
        "wrong_dims": (
            graphs.identity(dims=["n", 4]),
            plain.replace("-1", "5"),
            "making complete shape [-1,5])",
        ),
        "parameter": (graphs.identity(), plain + told, "execution_mode are 0 or 1 but got 3 ."),
        "fixed": (graphs.identity(dims=[1, 4]), plain, "but shape expected by the model is [1,4]"),
    }
    for name, (model, text, _) in bad.items():
        graphs.write(home, name, model, text)
    with pytest.raises(ServeError) as failure:
        boot_once(home, timeout=120.0, refusing=Choice(("TRN00",)))
    for name, (_, _, words) in bad.items():
        assert f"{name}: Internal: Refused: " in str(failure.value)
        assert words in str(failure.value)


class Completing(EmbeddedServer):
    """A server that may add to a config, as Triton does by itself."""

    def _command(self, *arguments: Any) -> list[str]:
        return [word for word in super()._command(*arguments) if word != "--disable-auto-complete-config"]


@pytest.mark.triton
def test_a_config_is_completed_where_the_server_may(tmp_path: Path) -> None:
    home = tmp_path / "repository"
    graphs.write(home, "bare", graphs.add(), CPU)
    graphs.write(home, "rows", graphs.identity(dims=["n"]), CPU)
    graphs.write(home, "fixed", graphs.identity(dims=[2]), f"max_batch_size: 4\n{CPU}")
    server = Completing(home, Options())
    try:
        server.start()
        client = clients.Client(server.http, server.grpc, None, {})
        # it is live when it has loaded what it can
        assert client.until(client.alive, 120)
        index = {entry["name"]: entry for entry in rest.repository_index(server.http)}
        assert "model does not support batching while non-zero max_batch_size" in index["fixed"]["reason"]
        _, found = rest.call(server.http, "GET", "/v2/models/bare/config")
        assert (found["max_batch_size"], [one["name"] for one in found["input"]]) == (4, ["a", "b"])
        assert "dynamic_batching" in found
        rows = np.arange(3, dtype=np.float32).reshape(3, 1)
        assert infer(client, "rows", x=rows)["y"].tolist() == rows.tolist()
    finally:
        server.kill()

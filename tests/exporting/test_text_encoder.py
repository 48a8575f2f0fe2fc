"""Every encoder family as one graph: a batch is answered as transformers answers each text by itself.

Tracing a graph takes seconds: in the fast tier most families are run by torch, before they are traced.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")
transformers = pytest.importorskip("transformers")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from builder.errors import ConversionError  # noqa: E402
from builder.exporting import packing, text_encoder  # noqa: E402

# torch warns of itself while it traces; a build does that in a process of its own
pytestmark = pytest.mark.filterwarnings("ignore")

SMALL: dict[str, Any] = {
    "vocab_size": 100,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 80,
    "pad_token_id": 0,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": SMALL,
    "distilbert": {
        "vocab_size": 100,
        "dim": 32,
        "n_layers": 2,
        "n_heads": 2,
        "hidden_dim": 64,
        "max_position_embeddings": 80,
    },
    "roberta": SMALL | {"pad_token_id": 1, "type_vocab_size": 1},
    "xlm-roberta": SMALL | {"pad_token_id": 1, "type_vocab_size": 1},
    "mpnet": SMALL | {"pad_token_id": 1},
    "modernbert": SMALL
    | {
        "num_hidden_layers": 4,
        "local_attention": 8,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "cls_token_id": 1,
        "sep_token_id": 2,
    },
    "deberta-v2": SMALL
    | {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "norm_rel_ebd": "layer_norm",
        "position_buckets": 8,
        "share_att_key": True,
        "type_vocab_size": 0,
    },
}
PACKED = frozenset(FAMILIES) - {"mpnet", "deberta-v2"}
KINDS: dict[str, tuple[str, int]] = {
    "embedding": ("AutoModel", 0),
    "classification": ("AutoModelForSequenceClassification", 3),
    "token_classification": ("AutoModelForTokenClassification", 4),
    "reranking": ("AutoModelForSequenceClassification", 1),
}
TRACED_FAST = {("bert", "reranking")}
MOST = 64
BATCHES = (
    ((7, 9), (5, 9), (18, 18)),
    ((3, 3),),
    ((1, 1),),
    ((1, 50), (50, 50), (2, 50)),
    ((33, 40), (40, 40)),
)


def checkpoint(family: str, pipeline: str, folder: Path, **more: Any) -> Any:
    torch.manual_seed(7)
    kind, labels = KINDS[pipeline]
    config = transformers.AutoConfig.for_model(
        family, **FAMILIES[family] | ({"num_labels": labels} if labels else {}) | more
    )
    model = getattr(transformers, kind).from_config(config).eval()
    # scores of untrained heads hardly differ: made to, so that a wrong one shows
    for name, weight in model.named_parameters():
        if name.endswith(("classifier.weight", "out_proj.weight")):
            weight.data *= 30
    model.save_pretrained(folder)
    model.set_attn_implementation("eager")
    return model


def graph(folder: Path, pipeline: str, **more: Any) -> Path:
    request = folder / "request.json"
    labels = [f"label {number}" for number in range(KINDS[pipeline][1])]
    asked = {"source": str(folder), "pipeline": pipeline, "precision": "fp32", "most": MOST, "labels": labels}
    request.write_text(json.dumps({**asked, "output": "answer", "out": str(folder / "graph"), **more}))
    text_encoder.main(request)
    return folder / "graph" / "model.onnx"


def batch(rows: Sequence[tuple[int, int]], pairs: bool = False) -> dict[str, Any]:
    """Return the graph's inputs for rows of so many (tokens, ids with padding)."""
    generator = np.random.default_rng(len(rows))
    flat = [np.r_[generator.integers(5, 100, tokens), np.zeros(width - tokens)] for tokens, width in rows]
    input_ids = np.concatenate(flat).astype(np.int32)
    told = np.array(rows, dtype=np.int32)
    tokens, widths = told.T.copy()
    # as Triton makes it: the longest may be told longer than it is
    sizes = {name: np.zeros(size, np.int32) for name, size in (("extent", 7), ("places", max(tokens) + 1))}
    flat_inputs = {"input_ids": input_ids, **sizes}
    columns = [tokens, widths, *([(tokens + 1) // 2] if pairs else [])]
    return {**flat_inputs, "rows": np.stack(columns, axis=1)}


def texts(given: dict[str, Any]) -> list[Any]:
    """Return the ids of each row without its padding, int64 [1, tokens]."""
    tokens, widths = given["rows"][:, :2].T
    begins = np.cumsum([0, *widths])
    return [
        torch.tensor(given["input_ids"][begin : begin + length][None].astype(np.int64))
        for begin, length in zip(begins, tokens, strict=False)
    ]


def wanted(model: Any, pipeline: str, given: dict[str, Any]) -> list[Any]:
    """Return what transformers says of each text by itself."""
    found = []
    for number, ids in enumerate(texts(given)):
        more = {}
        if pipeline == "reranking" and model.config.model_type == "bert":
            is_second = torch.arange(ids.shape[1]) >= int(given["rows"][number, 2])
            more["token_type_ids"] = is_second.long()[None]
        with torch.no_grad():
            output = model(input_ids=ids, **more)
        if pipeline == "embedding":
            mean = output.last_hidden_state[0].mean(0)
            found.append((mean / mean.norm()).numpy())
        elif pipeline == "reranking":
            found.append(torch.sigmoid(output.logits)[0].numpy())
        else:
            found.append(torch.softmax(output.logits, -1)[0].numpy())
    return found


def agreeing(answers: Any, model: Any, pipeline: str, given: dict[str, Any], tolerance: float = 1e-5) -> None:
    # random weights give logits of tens, of which float32 keeps six digits; threads add them in any order
    expected = wanted(model, pipeline, given)
    assert len(answers) == len(expected)
    for answer, one in zip(answers, expected, strict=True):
        # of an answer for each token, what comes after a row's tokens has no meaning
        answer = answer[: len(one)] if pipeline == "token_classification" else answer
        np.testing.assert_allclose(answer, one, atol=tolerance)


@pytest.mark.parametrize("pipeline", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_is_answered_as_each_text_alone(family: str, pipeline: str, tmp_path: Path) -> None:
    model = checkpoint(family, pipeline, tmp_path)
    encoder = text_encoder.TextEncoder(tmp_path, pipeline, MOST).eval()
    for rows in BATCHES:
        given = batch(rows, pairs=pipeline == "reranking")
        with torch.no_grad():
            answers = encoder(*(torch.tensor(value) for value in given.values()))
        agreeing(answers.numpy(), model, pipeline, given)


@pytest.mark.parametrize(
    ("family", "pipeline"),
    [
        pytest.param(
            family,
            pipeline,
            marks=() if (family, pipeline) in TRACED_FAST else pytest.mark.slow,
        )
        for family in FAMILIES
        for pipeline in KINDS
    ],
)
def test_so_does_the_graph(family: str, pipeline: str, tmp_path: Path) -> None:
    model = checkpoint(family, pipeline, tmp_path)
    session = onnxruntime.InferenceSession(graph(tmp_path, pipeline))
    for rows in BATCHES:
        given = batch(rows, pairs=pipeline == "reranking")
        answers = session.run(None, given)
        agreeing(answers[0], model, pipeline, given)
        if pipeline == "classification":
            best = [[f"label {number}"] for number in answers[0].argmax(1)]
            assert answers[1].tolist() == best
    shapes = {one.name: (one.type, one.shape[1:]) for one in session.get_outputs()}
    labels = {"label": ("tensor(string)", [1])} if pipeline == "classification" else {}
    assert {name: shape for name, shape in shapes.items() if name != "answer"} == labels
    assert {one.type for one in session.get_inputs()} == {"tensor(int32)"}


@pytest.mark.parametrize(
    "most", [2, 3, *(pytest.param(one, marks=pytest.mark.slow) for one in (1, 4, 5, 17))]
)
def test_so_does_the_graph_of_the_shortest_texts(most: int, tmp_path: Path) -> None:
    model = checkpoint("bert", "embedding", tmp_path)
    session = onnxruntime.InferenceSession(graph(tmp_path, "embedding", most=most))
    for rows in (((1, 1),), ((1, most), (most, most)), ((most, most + 1),) * 5):
        given = batch(rows)
        agreeing(session.run(None, given)[0], model, "embedding", given)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(
    "family", ["bert", *(pytest.param(one, marks=pytest.mark.slow) for one in sorted(PACKED - {"bert"}))]
)
def test_so_does_the_graph_with_attention_as_one_operator(
    family: str, precision: str, tmp_path: Path
) -> None:
    """ONNX Runtime has that operator for the processor too."""
    onnx = pytest.importorskip("onnx")
    model = checkpoint(family, "embedding", tmp_path)
    path = graph(tmp_path, "embedding", fused=True, device="gpu", precision=precision)
    session = onnxruntime.InferenceSession(path)
    for rows in BATCHES:
        given = batch(rows)
        agreeing(
            session.run(None, given)[0], model, "embedding", given, 2e-6 if precision == "fp32" else 3e-3
        )
    nodes = onnx.load(path).graph.node
    fused = [node for node in nodes if node.op_type == "MultiHeadAttention"]
    # ModernBERT looks at a window in all layers but every third
    assert len(fused) == model.config.num_hidden_layers - (2 if family == "modernbert" else 0)
    # one product for query, key and value, unless they are rotated after it
    assert all(bool(node.input[3]) == (family != "modernbert") for node in fused)


@pytest.mark.slow
def test_nothing_of_the_merged_weights_stays_behind(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    checkpoint("bert", "embedding", tmp_path)
    sizes = []
    for fused in (False, True):
        model = onnx.load(graph(tmp_path, "embedding", fused=fused))
        sizes.append(sum(len(weight.raw_data) for weight in model.graph.initializer))
    assert abs(sizes[0] - sizes[1]) < 1024


def test_a_text_may_hold_the_padding_token(tmp_path: Path) -> None:
    """RoBERTa gives it no position of its own, wherever it stands."""
    model = checkpoint("roberta", "embedding", tmp_path)
    encoder = text_encoder.TextEncoder(tmp_path, "embedding", MOST).eval()
    ids = torch.tensor([[7, 1, 8, 1, 1, 9]])
    with torch.no_grad():
        answer = encoder(ids[0].int(), ids[0], ids[0], torch.tensor([[6, 6]], dtype=torch.int32))
        mean = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0].mean(0)
    np.testing.assert_allclose(answer[0], mean / mean.norm(), atol=2e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_fills_up_behind_the_longest_text_needs_no_position_of_its_own(
    family: str, tmp_path: Path
) -> None:
    """A model has as many positions as its longest text has tokens, give or take what a family adds."""
    positions = MOST + (2 if "roberta" in family or family == "mpnet" else 0)
    model = checkpoint(family, "embedding", tmp_path, max_position_embeddings=positions)
    encoder = text_encoder.TextEncoder(tmp_path, "embedding", MOST).eval()
    given = batch(((1, 1), (1, 1), (MOST, MOST + 2)), pairs=False)
    given["places"] = np.zeros(MOST + 2, np.int32)
    with torch.no_grad():
        answers = encoder(*(torch.tensor(value) for value in given.values()))
    agreeing(answers.numpy(), model, "embedding", given)


@pytest.mark.parametrize("family", FAMILIES)
def test_which_families_run_without_padding(family: str, tmp_path: Path) -> None:
    checkpoint(family, "embedding", tmp_path)
    assert text_encoder.TextEncoder(tmp_path, "embedding", MOST).is_packed == (family in PACKED)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3)), min_size=1, max_size=6), st.integers(0, 2))
def test_packing_keeps_every_token_and_its_place(rows: list[tuple[int, int]], more: int) -> None:
    tokens, widths = zip(*((length, length + padding) for length, padding in rows), strict=True)
    numbers = [[100 * row + place for place in range(length)] for row, (length, _) in enumerate(rows)]
    flat = [
        value for row, width in zip(numbers, widths, strict=True) for value in row + [-1] * (width - len(row))
    ]
    longest = max(tokens) + more
    found = packing.Packing(torch.tensor(tokens), torch.tensor(widths), len(flat), longest)
    ids = torch.tensor([flat])
    places = dict(zip(flat, found.places[0].tolist(), strict=True))
    assert all(places[value] == value % 100 for row in numbers for value in row)
    assert max(places.values()) < max(tokens)
    assert found.laid_out(ids, -7).tolist() == [row + [-7] * (longest - len(row)) for row in numbers]
    again = found.packed(found.unpacked(ids.view(-1, 1)).flatten(0, 1)).flatten().tolist()
    assert [value for value, was in zip(again, flat, strict=True) if was != -1] == [
        value for value in flat if value != -1
    ]


def test_scores_of_one_label_and_of_several_at_once_are_probabilities_each(tmp_path: Path) -> None:
    for name, more in {
        "one": {"num_labels": 1},
        "several": {"problem_type": "multi_label_classification"},
    }.items():
        folder = tmp_path / name
        model = checkpoint("bert", "classification", folder, **more)
        encoder = text_encoder.TextEncoder(folder, "classification", MOST).eval()
        given = batch(BATCHES[0])
        with torch.no_grad():
            answers = encoder(*(torch.tensor(value) for value in given.values()))
            expected = [torch.sigmoid(model(input_ids=ids).logits)[0] for ids in texts(given)]
        np.testing.assert_allclose(answers, torch.stack(expected), atol=2e-6)


def test_a_cross_encoder_may_say_that_its_scores_have_no_bounds(tmp_path: Path) -> None:
    activation = {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}
    model = checkpoint("bert", "reranking", tmp_path, **activation)
    encoder = text_encoder.TextEncoder(tmp_path, "reranking", MOST).eval()
    given = batch(BATCHES[0], pairs=True)
    with torch.no_grad():
        answers = encoder(*(torch.tensor(value) for value in given.values()))
    expected = [np.log(score / (1 - score)) for score in wanted(model, "reranking", given)]
    np.testing.assert_allclose(answers, expected, atol=1e-5)


def test_a_checkpoint_of_another_task_is_refused(tmp_path: Path) -> None:
    checkpoint("bert", "embedding", tmp_path)
    with pytest.raises(ConversionError, match="lacks classifier"):
        text_encoder.TextEncoder(tmp_path, "classification", MOST)


def test_a_reranker_gives_one_score(tmp_path: Path) -> None:
    checkpoint("bert", "classification", tmp_path)
    with pytest.raises(ConversionError, match="3 scores for a pair"):
        text_encoder.TextEncoder(tmp_path, "reranking", MOST)


def test_the_file_is_one_that_old_servers_read_and_says_nothing_of_this_machine(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    checkpoint("bert", "token_classification", tmp_path, num_hidden_layers=1)
    path = graph(tmp_path, "token_classification", output="token_scores")
    model = onnx.load(path)
    assert model.ir_version <= 10
    assert {(one.domain, one.version) for one in model.opset_import} == {("", 18)}
    assert [one.name for one in model.graph.output] == ["token_scores"]
    assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]
    assert str(Path(text_encoder.__file__).parent).encode() not in path.read_bytes()

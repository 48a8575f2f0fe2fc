"""Checkpoints of a few kilobytes with random weights, as their own libraries save them, of every family."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from builder.house import folder as shipped

MOST = 40
"""The most tokens of a text."""
LABELS = {
    "classification": ["negative", "so so", "très bien"],
    "token_classification": ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"],
    "reranking": ["LABEL_0"],
    "image_classification": ["cat", "a house by the sea", "mug"],
}
CLASSES = {
    "embedding": "AutoModel",
    "classification": "AutoModelForSequenceClassification",
    "token_classification": "AutoModelForTokenClassification",
    "reranking": "AutoModelForSequenceClassification",
    "image_classification": "AutoModelForImageClassification",
}
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}
DISTILBERT = {"dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 64}
MODERN = {"num_hidden_layers": 4, "local_attention": 8, "global_attn_every_n_layers": 3}
DEBERTA = {
    "relative_attention": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "norm_rel_ebd": "layer_norm",
    "position_buckets": 8,
    "share_att_key": True,
    "type_vocab_size": 0,
}
ROBERTA = {"type_vocab_size": 1}
TEXT_FAMILIES: dict[str, dict[str, Any]] = {
    "bert": TEXT,
    "distilbert": DISTILBERT,
    "roberta": TEXT | ROBERTA,
    "xlm-roberta": TEXT | ROBERTA,
    "mpnet": TEXT,
    "deberta-v2": TEXT | DEBERTA,
    "modernbert": TEXT | MODERN,
}
IMAGE_FAMILIES: dict[str, dict[str, Any]] = {
    "vit": {**TEXT, "image_size": 32, "patch_size": 8},
    "resnet": {"embedding_size": 8, "hidden_sizes": [16, 32], "depths": [1, 2], "layer_type": "bottleneck"},
    "convnext": {"hidden_sizes": [8, 16], "depths": [1, 2], "num_stages": 2},
}
_SIDE = 32
_PREPARATION = {
    "vit": {"image_processor_type": "ViTImageProcessor", "size": {"height": _SIDE, "width": _SIDE}},
    "resnet": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": _SIDE}},
    "convnext": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": _SIDE}},
}
_MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]


def write(folder: Path, family: str, pipeline: str) -> Path:
    """Write a Hugging Face folder of a family, trained for nothing but of the class of a pipeline."""
    import torch
    import transformers

    torch.manual_seed(7)
    told: dict[str, Any] = {
        **(TEXT_FAMILIES | IMAGE_FAMILIES)[family],
        # the usual small weights have every text answered alike, large ones every token of a text
        "initializer_range": 0.05 if pipeline == "token_classification" else 0.3,
    }
    if pipeline in LABELS:
        told["id2label"] = dict(enumerate(LABELS[pipeline]))
        told["label2id"] = {label: number for number, label in told["id2label"].items()}
    if family in TEXT_FAMILIES:
        told |= _tokenizer(folder, family)
    model = getattr(transformers, CLASSES[pipeline]).from_config(
        transformers.AutoConfig.for_model(family, **told)
    )
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5)
    model.save_pretrained(folder)
    if family in IMAGE_FAMILIES:
        half = {"image_mean": [0.5, 0.4, 0.6], "image_std": [0.5, 0.25, 0.3]}
        (folder / "preprocessor_config.json").write_text(json.dumps(_PREPARATION[family] | half))
    if pipeline == "embedding":
        _modules(folder, model.config.hidden_size)
    return folder


def _modules(folder: Path, width: int) -> None:
    pooling = {"word_embedding_dimension": width, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling").mkdir()
    for name, told in {
        "modules.json": _MODULES,
        "sentence_bert_config.json": {"max_seq_length": MOST, "do_lower_case": False},
        "1_Pooling/config.json": pooling,
    }.items():
        (folder / name).write_text(json.dumps(told))


def _tokenizer(folder: Path, family: str) -> dict[str, int]:
    """Write a tokenizer of the family's kind, trained on the texts of this project; return its numbers."""
    from transformers import PreTrainedTokenizerFast

    roberta = family in ("roberta", "xlm-roberta", "mpnet")
    names = ["<s>", "<pad>", "</s>", "<unk>"] if roberta else ["[CLS]", "[PAD]", "[SEP]", "[UNK]"]
    begin, _, end, _ = names
    tokenizer = _trained(family, names)
    ids = {name: tokenizer.token_to_id(name) for name in names}
    second = 0 if family in ("roberta", "xlm-roberta", "distilbert", "modernbert") else 1
    between = f"{end} {end}" if roberta else end
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}",
        pair=f"{begin} $A {between} $B:{second} {end}:{second}",
        special_tokens=[(begin, ids[begin]), (end, ids[end])],
    )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=MOST,
        model_input_names=["input_ids", *(["token_type_ids"] if family == "bert" else []), "attention_mask"],
        **dict(zip(("cls_token", "pad_token", "sep_token", "unk_token"), names, strict=True)),
    )
    wrapped.save_pretrained(folder)
    numbers = dict(zip(("bos_token_id", "pad_token_id", "eos_token_id"), ids.values(), strict=False))
    return {**numbers, "vocab_size": tokenizer.get_vocab_size()} | (
        {"cls_token_id": ids[begin], "sep_token_id": ids[end]} if family == "modernbert" else {}
    )


def _trained(family: str, special: list[str]) -> Any:
    told: dict[str, Any] = {"vocab_size": 400, "special_tokens": special, "show_progress": False}
    if family in ("bert", "distilbert", "mpnet"):
        tokenizer = Tokenizer(models.WordPiece(unk_token=special[-1]))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        trainer: Any = trainers.WordPieceTrainer(**told)
    elif family in ("roberta", "modernbert"):
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(**told, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    else:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(**told, unk_token=special[-1])
    tokenizer.train_from_iterator((shipped("data") / "texts.toml").read_text("utf-8").splitlines(), trainer)
    return tokenizer


# -- without a tokenizer -----------------------------------------------------------------------------------


def graph(path: Path) -> Path:
    """Write a bare graph: x [rows, 3] times a number INT64, its total and its most INT64 [rows, 1]."""
    from onnx import TensorProto, helper, save

    rows, node = "rows", helper.make_node
    made = helper.make_graph(
        [
            node("Cast", ["times"], ["factor"], to=TensorProto.FLOAT),
            node("Mul", ["x", "factor"], ["scaled"]),
            node("ReduceSum", ["scaled", "axis"], ["total"], keepdims=1),
            node("ArgMax", ["scaled"], ["most"], axis=1, keepdims=1),
        ],
        "totals",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, 3]),
            helper.make_tensor_value_info("times", TensorProto.INT64, [rows, 1]),
        ],
        [
            helper.make_tensor_value_info("total", TensorProto.FLOAT, [rows, 1]),
            helper.make_tensor_value_info("most", TensorProto.INT64, [rows, 1]),
        ],
        [helper.make_tensor("axis", TensorProto.INT64, [1], [1])],
    )
    save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def program(path: Path) -> tuple[Path, Any]:
    """Save a network with two inputs by torch.export; return the file and the network."""
    import torch

    class Network(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 3)

        def forward(self, left: Any, right: Any) -> Any:
            return torch.tanh(self.layer(left + right)), left * right

    torch.manual_seed(3)
    network = Network().eval()
    batch = torch.export.Dim("batch", min=1, max=1024)
    example = (torch.ones(2, 4), torch.ones(2, 4))
    torch.export.save(torch.export.export(network, example, dynamic_shapes=({0: batch}, {0: batch})), path)
    return path, network


def pickled(path: Path, model: Any) -> Path:
    path.write_bytes(pickle.dumps(model))
    return path


def unpickled(path: Path) -> Any:
    return pickle.loads(path.read_bytes())


def table(rows: int = 120) -> tuple[Any, Any]:
    """Return columns [rows, 4] as pandas has them and what they are to predict, one of three words."""
    import pandas

    numbers = np.random.default_rng(5).normal(size=(rows, 4)).astype(np.float32)
    words = np.array(["low", "middle", "high"], object)
    sums = numbers[:, 0] + numbers[:, 1] * numbers[:, 2]
    return pandas.DataFrame(numbers, columns=list("abcd")), words[np.digitize(sums, [-0.5, 0.5])]


def mixed(path: Path) -> tuple[Path, Any, Any]:
    """Pickle a pipeline of scikit-learn with columns of three types; return the file, it and its table."""
    import pandas
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

    rows = 60
    columns = pandas.DataFrame(
        {
            "age": np.linspace(18, 80, rows, dtype=np.float32),
            "city": np.array(["Paris", "Rom", "Öslo"], object)[np.arange(rows) % 3],
            "kids": np.arange(rows) % 4,
        }
    )
    first = ColumnTransformer(
        [
            ("numbers", StandardScaler(), ["age"]),
            ("words", OneHotEncoder(), ["city"]),
            ("counts", OrdinalEncoder(), ["kids"]),
        ]
    )
    model = make_pipeline(first, LogisticRegression())
    model.fit(columns, np.where(columns["age"] + 9 * columns["kids"] > 60, "yes", "no"))
    return pickled(path, model), model, columns

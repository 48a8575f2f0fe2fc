"""Small models of every family that answers in one pass: configs, and folders with weights of zeros."""

import json
import math
import struct

from builder import architecture

TEXT = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
DISTILBERT = {
    "vocab_size": 96,
    "dim": 32,
    "hidden_dim": 48,
    "n_layers": 2,
    "n_heads": 4,
    "max_position_embeddings": 64,
}
VIT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}
RESNET = {"embedding_size": 8, "hidden_sizes": [16, 32], "depths": [1, 3]}
CONVNEXT = {"hidden_sizes": [8, 16], "depths": [1, 3], "num_stages": 2, "image_size": 32}
MODERN = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}

ENCODERS = {
    "bert": TEXT,
    "distilbert": DISTILBERT,
    "roberta": TEXT,
    "xlm-roberta": TEXT,
    "mpnet": TEXT,
    "deberta-v2": TEXT,
    "modernbert": TEXT | MODERN,
}
VISION = {"vit": VIT, "resnet": RESNET, "convnext": CONVNEXT}


def config(model_type, end="", **extra):
    """Return a small config of the class that ends in `end`; none named is a plain model."""
    small = (ENCODERS | VISION)[model_type]
    return {"model_type": model_type, **small, "architectures": [f"Some{end or 'Model'}"], **extra}


def shapes(config, *, prefixed=True):
    """Return the tensors that a checkpoint of this config must hold, with or without the family's prefix."""
    family = architecture.load(config["model_type"])
    held = [f"{family.PREFIX}.anything"] if prefixed else []
    return architecture.expected_tensors(family, config, "safetensors", held)


def write(folder, config, tensors):
    """Write a checkpoint whose tensors are all zero, without any library."""
    folder.mkdir(exist_ok=True)
    entries, end = {}, 0
    for name, shape in tensors.items():
        size = 2 * math.prod(shape)
        entries[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    header = json.dumps(entries).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(end))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    return folder

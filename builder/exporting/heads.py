"""What comes after the last layer: hidden states [rows, longest, size] -> what the pipeline answers with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from builder.errors import ConversionError
from builder.pooling import Dense, Pooling


class Embedding(nn.Module):  # type: ignore[misc]  # torch is not there for the type checker
    """Pool, project, normalise: the modules of sentence-transformers, float32 [rows, width]."""

    def __init__(self, pooling: Pooling) -> None:
        super().__init__()
        self.modes = pooling.modes
        self.normalized = pooling.normalized
        self.dense = nn.Sequential(*(layer for one in pooling.dense for layer in _linear(one)))

    def forward(self, hidden: Tensor, is_token: Tensor) -> Tensor:
        """Return one vector for each row; `is_token` [rows, longest] is false at padding."""
        pooled = torch.cat([_POOLS[mode](hidden, is_token) for mode in self.modes], dim=1)
        vector = self.dense(pooled)
        return nn.functional.normalize(vector, p=2.0, dim=1) if self.normalized else vector


def _first(hidden: Tensor, is_token: Tensor) -> Tensor:
    return hidden[:, 0]


def _last(hidden: Tensor, is_token: Tensor) -> Tensor:
    last = is_token.sum(1) - 1
    return hidden[torch.arange(hidden.shape[0]), last]


def _largest(hidden: Tensor, is_token: Tensor) -> Tensor:
    return hidden.masked_fill(~is_token[:, :, None], -1e9).amax(1)


def _sum(hidden: Tensor, is_token: Tensor) -> Tensor:
    return hidden.masked_fill(~is_token[:, :, None], 0.0).sum(1)


def _mean(hidden: Tensor, is_token: Tensor) -> Tensor:
    return _sum(hidden, is_token) / is_token.sum(1, keepdim=True)


def _mean_sqrt(hidden: Tensor, is_token: Tensor) -> Tensor:
    return _sum(hidden, is_token) / is_token.sum(1, keepdim=True).sqrt()


def _weighted(hidden: Tensor, is_token: Tensor) -> Tensor:
    """Weigh each token by its place, from 1 (https://arxiv.org/abs/2202.08904)."""
    weights = torch.where(is_token, torch.arange(1, hidden.shape[1] + 1)[None], 0)
    return (hidden * weights[:, :, None]).sum(1) / weights.sum(1, keepdim=True)


_POOLS = {
    "cls": _first,
    "last": _last,
    "max": _largest,
    "mean": _mean,
    "mean_sqrt_len": _mean_sqrt,
    "weighted_mean": _weighted,
}


def _linear(dense: Dense) -> list[nn.Module]:
    layer = nn.Linear(dense.inputs, dense.outputs, dense.bias)
    state = _weights(dense)
    layer.load_state_dict({name.removeprefix("linear."): value for name, value in state.items()})
    activation = getattr(nn, dense.activation, None)
    if activation is None:
        raise ConversionError(f"{dense.path} has an activation {dense.activation}, which torch.nn has not")
    return [layer, activation()]


def _weights(dense: Dense) -> dict[str, Any]:
    from safetensors.torch import load_file

    path = dense.path / "model.safetensors"
    if not path.is_file():
        raise ConversionError(
            f"{dense.path} holds no model.safetensors",
            expected="weights that are not a pickle",
            remedy="save the model again with a current sentence-transformers",
        )
    return dict(load_file(path))

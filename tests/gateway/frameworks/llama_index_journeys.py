"""What LlamaIndex's OpenAILike and OpenAILikeEmbedding do at the gateway, in front of real models.

test_gateway_clients.py runs each function alone, `python llama_index_journeys.py NAME`, with the addresses in
the environment: GATEWAY serves smollm2 and minilm, TOOLS a smollm2 that takes tools.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any, Literal

import openai
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

QUESTION = "What is the capital of France?"
ANSWER = "The capital of France is Paris."
ASKED = [ChatMessage(role="user", content=QUESTION)]


class Answer(BaseModel):
    """An answer to the question."""

    capital: Literal["Paris", "Rome"]
    sure: bool


def language_model(address: str = "GATEWAY", model: str = "smollm2", **more: Any) -> OpenAILike:
    asked = {"is_chat_model": True, "temperature": 0, "max_retries": 0, "context_window": 8192} | more
    return OpenAILike(model=model, api_base=os.environ[address], api_key="none", **asked)


def embedding_model() -> OpenAILikeEmbedding:
    return OpenAILikeEmbedding(model_name="minilm", api_base=os.environ["GATEWAY"], api_key="none")


def chat() -> None:
    model = language_model()
    told = model.chat(ASKED)
    assert told.message.content == ANSWER
    # a prompt of a model that chats is a message
    assert model.complete(QUESTION).text == ANSWER
    again = model.chat([*ASKED, told.message, ChatMessage(role="user", content="Thanks.")], max_tokens=8)
    assert again.raw.usage.prompt_tokens > told.raw.usage.total_tokens


def stream() -> None:
    pieces = [piece.delta or "" for piece in language_model().stream_chat(ASKED)]
    assert "".join(pieces) == ANSWER and len(pieces) > 2


def asynchronous() -> None:
    async def ask() -> None:
        model = language_model()
        assert (await model.achat(ASKED)).message.content == ANSWER
        assert "".join([piece.delta or "" async for piece in await model.astream_chat(ASKED)]) == ANSWER

    asyncio.run(ask())


def completions() -> None:
    model = language_model(is_chat_model=False, max_tokens=1)
    assert model.complete("The capital of France is").text == " Paris"
    assert (
        "".join(piece.delta or "" for piece in model.stream_complete("The capital of France is")) == " Paris"
    )


def parameters() -> None:
    poem = [ChatMessage(role="user", content="Write a poem about the sea.")]
    drawn = [
        language_model(temperature=1.5, max_tokens=16, additional_kwargs={"seed": seed}).chat(poem)
        for seed in (1, 1, 2)
    ]
    told = [one.message.content for one in drawn]
    assert told[0] == told[1] != told[2]
    assert all(one.raw.usage.completion_tokens <= 16 for one in drawn)


def structured_output() -> None:
    model = language_model(should_use_structured_outputs=True, max_tokens=100)
    parsed = model.as_structured_llm(Answer).chat(ASKED).raw
    assert isinstance(parsed, Answer) and parsed.capital == "Paris", parsed


def get_weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"It is sunny in {city}."


def tools() -> None:
    model = language_model("TOOLS", "smollm2_tools", is_function_calling_model=True, max_tokens=200)
    offered = FunctionTool.from_defaults(get_weather)
    told = model.chat_with_tools([offered], "What is the weather in Paris?", tool_required=True)
    call = model.get_tool_calls_from_response(told)[0]
    assert call.tool_name == "get_weather" and isinstance(call.tool_kwargs["city"], str)
    done = model.predict_and_call([offered], "What is the weather in Paris?", tool_required=True)
    assert str(done).startswith("It is sunny in "), done


def embeddings() -> None:
    model = embedding_model()
    texts = ["The weather is lovely today.", "It is sunny outside!", "He drove to the stadium."]
    first, second, third = model.get_text_embedding_batch(texts)
    assert len(first) == 384
    assert model.similarity(first, second) > model.similarity(first, third)
    assert model.similarity(model.get_query_embedding(texts[0]), first) > 0.999


def retrieval() -> None:
    texts = ["The capital of France is Paris.", "Cats sleep most of the day.", "Bread is made of flour."]
    index = VectorStoreIndex.from_documents(
        [Document(text=text) for text in texts], embed_model=embedding_model()
    )
    engine = index.as_query_engine(llm=language_model(max_tokens=32), similarity_top_k=1)
    told = engine.query(QUESTION)
    assert told.source_nodes[0].text == texts[0]
    assert "Paris" in str(told)


def errors() -> None:
    refused(openai.BadRequestError, lambda: language_model(max_tokens=100_000).chat(ASKED))
    refused(openai.NotFoundError, lambda: language_model(model="gpt-4").chat(ASKED))
    refused(openai.NotFoundError, lambda: list(language_model(model="gpt-4").stream_chat(ASKED)))


def refused(kind: type[openai.APIStatusError], ask: Any) -> None:
    try:
        ask()
    except kind:
        return
    raise AssertionError(f"no {kind.__name__}")


if __name__ == "__main__":
    globals()[sys.argv[1]]()

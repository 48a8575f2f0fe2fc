"""What LangChain's ChatOpenAI and OpenAIEmbeddings do at the gateway, in front of real models.

test_gateway_clients.py runs each function alone, `python langchain_journeys.py NAME`, with the addresses in
the environment: GATEWAY serves smollm2 and minilm, TOOLS a smollm2 that takes tools.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any, Literal

import openai
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel

QUESTION = "What is the capital of France?"
ANSWER = "The capital of France is Paris."


class Answer(BaseModel):
    """An answer to the question."""

    capital: Literal["Paris", "Rome"]
    sure: bool


@tool
def get_weather(city: Literal["Paris", "Rome"]) -> str:
    """Tell the weather of a city."""
    return f"It is sunny in {city}."


def chat_model(address: str = "GATEWAY", model: str = "smollm2", **more: Any) -> ChatOpenAI:
    asked = {"temperature": 0, "max_retries": 0} | more
    return ChatOpenAI(model=model, base_url=os.environ[address], api_key="none", **asked)


def chat() -> None:
    model = chat_model()
    told = model.invoke(QUESTION)
    assert told.content == ANSWER, told
    assert told.response_metadata["finish_reason"] == "stop"
    assert told.usage_metadata and told.usage_metadata["output_tokens"] > 0
    messages = [SystemMessage("You are brief."), HumanMessage(QUESTION), told, HumanMessage("Thanks.")]
    again = model.bind(max_tokens=8).invoke(messages)
    assert again.usage_metadata and again.usage_metadata["input_tokens"] > 30


def stream() -> None:
    chunks = list(chat_model(stream_usage=True).stream(QUESTION))
    assert "".join(str(chunk.content) for chunk in chunks) == ANSWER
    assert len(chunks) > 2
    assert sum((chunk.usage_metadata or {"output_tokens": 0})["output_tokens"] for chunk in chunks) > 0


def asynchronous() -> None:
    async def ask() -> None:
        model = chat_model()
        assert (await model.ainvoke(QUESTION)).content == ANSWER
        assert "".join([str(chunk.content) async for chunk in model.astream(QUESTION)]) == ANSWER

    asyncio.run(ask())


def batch() -> None:
    told = chat_model().batch([QUESTION, "What is the capital of Italy?"])
    assert "Paris" in told[0].content and "Rome" in told[1].content


def parameters() -> None:
    poem = "Write a poem about the sea."
    drawn = [chat_model(temperature=1.5, seed=seed, max_tokens=16).invoke(poem).content for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    stopped = chat_model(stop=["Paris"]).invoke(QUESTION)
    assert "Paris" not in stopped.content and "capital" in stopped.content
    told = chat_model(logprobs=True, top_logprobs=2).invoke(QUESTION).response_metadata["logprobs"]["content"]
    assert "".join(token["token"] for token in told).startswith(ANSWER)
    two = chat_model(n=2, temperature=1, max_tokens=16).generate([[HumanMessage(poem)]])
    assert len(two.generations[0]) == 2


def responses() -> None:
    model = chat_model(use_responses_api=True, store=False)
    assert model.invoke(QUESTION).text == ANSWER
    assert "".join(chunk.text for chunk in model.stream(QUESTION)) == ANSWER


def completions() -> None:
    model = OpenAI(
        model="smollm2", base_url=os.environ["GATEWAY"], api_key="none", temperature=0, max_tokens=1
    )
    assert model.invoke("The capital of France is") == " Paris"
    assert "".join(model.stream("The capital of France is")) == " Paris"


def structured_output() -> None:
    parsed = chat_model(max_tokens=100).with_structured_output(Answer, method="json_schema").invoke(QUESTION)
    assert isinstance(parsed, Answer) and parsed.capital == "Paris", parsed
    # a form without a schema may have no end: it is held to the beginning of an object at least
    told = chat_model(max_tokens=100).bind(response_format={"type": "json_object"}).invoke(QUESTION)
    assert str(told.content).lstrip().startswith("{")


def structured_output_by_a_tool() -> None:
    asked = chat_model("TOOLS", "smollm2_tools", max_tokens=200)
    parsed = asked.with_structured_output(Answer, method="function_calling").invoke(QUESTION)
    assert isinstance(parsed, Answer), parsed


def tools() -> None:
    model = chat_model("TOOLS", "smollm2_tools", max_tokens=200)
    question = HumanMessage("What is the weather in Paris?")
    forced = model.bind_tools([get_weather], tool_choice="get_weather")
    told = forced.invoke([question])
    assert isinstance(told, AIMessage)
    (call,) = told.tool_calls
    assert call["name"] == "get_weather" and call["args"]["city"] in ("Paris", "Rome")
    whole: Any = None
    for chunk in forced.stream([question]):
        whole = chunk if whole is None else whole + chunk
    assert [one["args"] for one in whole.tool_calls] == [call["args"]]
    result = get_weather.invoke(call)
    assert isinstance(result, ToolMessage)
    answered = model.bind_tools([get_weather], tool_choice="none").invoke([question, told, result])
    assert answered.content and not answered.tool_calls


def embeddings() -> None:
    # without this it sends the ids of OpenAI's own tokenizer, which are other words for any other model
    model = OpenAIEmbeddings(
        model="minilm", base_url=os.environ["GATEWAY"], api_key="none", check_embedding_ctx_length=False
    )
    texts = ["The weather is lovely today.", "It is sunny outside!", "He drove to the stadium."]
    first, second, third = model.embed_documents(texts)
    assert len(first) == 384
    assert product(first, second) > product(first, third)
    assert product(model.embed_query(texts[0]), first) > 0.999


def product(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def errors() -> None:
    refused(openai.BadRequestError, lambda: chat_model(temperature=3).invoke(QUESTION))
    refused(openai.BadRequestError, lambda: list(chat_model(temperature=3).stream(QUESTION)))
    refused(openai.NotFoundError, lambda: chat_model(model="gpt-4").invoke(QUESTION))
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    told = refused(openai.BadRequestError, lambda: chat_model().invoke([HumanMessage([image])]))
    assert told.param == "messages[0].content[0]"


def refused(kind: type[openai.APIStatusError], ask: Any) -> openai.APIStatusError:
    try:
        ask()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


if __name__ == "__main__":
    globals()[sys.argv[1]]()

// What the official openai package for Node.js does at the gateway, in front of real models.
//
// test_gateway_clients.py runs each test alone, with the addresses in the environment:
// GATEWAY serves smollm2 and minilm, TOOLS a smollm2 that takes tools, METRICS is Triton's behind GATEWAY.

import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { zodFunction, zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const client = new OpenAI({ baseURL: process.env.GATEWAY, apiKey: "none", maxRetries: 0 });
const model = "smollm2";
const messages = [{ role: "user", content: "What is the capital of France?" }];
const greedy = { model, messages, temperature: 0 };
const ANSWER = "The capital of France is Paris.";
const City = z.object({ capital: z.enum(["Paris", "Rome"]), sure: z.boolean() });

const tools = new OpenAI({ baseURL: process.env.TOOLS, apiKey: "none", maxRetries: 0 });
const GetWeather = z.object({ city: z.enum(["Paris", "Rome"]) });
const weather = {
  model: "smollm2_tools",
  messages: [{ role: "user", content: "What is the weather in Paris?" }],
  temperature: 0,
  max_tokens: 200,
};

async function activeRequests() {
  const told = await (await fetch(process.env.METRICS)).text();
  return Number(told.match(/^builder_engine_active_requests\{model="smollm2"\} (\d+)/m)[1]);
}

async function until(holds) {
  const deadline = Date.now() + 30_000;
  while (!(await holds())) {
    assert.ok(Date.now() < deadline, "it did not come about within half a minute");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

test("models", async () => {
  const listed = [];
  for await (const one of client.models.list()) listed.push(one.id);
  assert.ok(listed.includes("smollm2") && listed.includes("minilm"));
  assert.equal((await client.models.retrieve("minilm")).owned_by, "triton");
});

test("chat", async () => {
  const answer = await client.chat.completions.create(greedy);
  assert.equal(answer.choices[0].message.content, ANSWER);
  assert.equal(answer.choices[0].finish_reason, "stop");
  const { prompt_tokens, completion_tokens, total_tokens } = answer.usage;
  assert.equal(total_tokens, prompt_tokens + completion_tokens);
  const longer = [...messages, answer.choices[0].message, { role: "user", content: "Thanks." }];
  const second = await client.chat.completions.create({ ...greedy, messages: longer, max_tokens: 8 });
  assert.ok(second.usage.prompt_tokens > total_tokens);
});

test("stream", async () => {
  const asked = { ...greedy, stream: true, stream_options: { include_usage: true } };
  const chunks = [];
  for await (const chunk of await client.chat.completions.create(asked)) chunks.push(chunk);
  const last = chunks.pop();
  assert.deepEqual(last.choices, []);
  assert.ok(last.usage.completion_tokens > 0);
  assert.equal(chunks.map((chunk) => chunk.choices[0].delta.content ?? "").join(""), ANSWER);
  assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
});

test("stream helper", async () => {
  const stream = client.chat.completions.stream(greedy);
  let heard = "";
  stream.on("content", (delta) => (heard += delta));
  assert.equal((await stream.finalChatCompletion()).choices[0].message.content, ANSWER);
  assert.equal(heard, ANSWER);
});

test("many at once", async () => {
  const ask = async (max_tokens) => {
    let told = "";
    for await (const chunk of await client.chat.completions.create({ ...greedy, max_tokens, stream: true }))
      told += chunk.choices[0].delta.content ?? "";
    return told;
  };
  const answers = await Promise.all(Array.from({ length: 16 }, (_, number) => ask(5 + number)));
  assert.ok(answers.every((answer) => answer.includes("capital")));
});

test("completion", async () => {
  const asked = { model, prompt: ["The capital of France is", "Once upon a"], max_tokens: 1, temperature: 0 };
  const answer = await client.completions.create(asked);
  assert.deepEqual(answer.choices.map((choice) => choice.text), [" Paris", " time"]);
});

test("responses", async () => {
  const asked = { model, input: messages[0].content, temperature: 0 };
  assert.equal((await client.responses.create(asked)).output_text, ANSWER);
  let heard = "";
  for await (const event of await client.responses.create({ ...asked, stream: true }))
    if (event.type === "response.output_text.delta") heard += event.delta;
  assert.equal(heard, ANSWER);
  const format = zodTextFormat(City, "city");
  const parsed = await client.responses.parse({ ...asked, text: { format }, max_output_tokens: 100 });
  assert.deepEqual(Object.keys(parsed.output_parsed), ["capital", "sure"]);
});

test("structured output", async () => {
  const asked = { ...greedy, response_format: zodResponseFormat(City, "city"), max_tokens: 100 };
  const parsed = (await client.chat.completions.parse(asked)).choices[0].message.parsed;
  assert.equal(parsed.capital, "Paris");
  assert.equal(typeof parsed.sure, "boolean");
  const streamed = await client.chat.completions.stream(asked).finalChatCompletion();
  assert.deepEqual(streamed.choices[0].message.parsed, parsed);
  await assert.rejects(
    client.chat.completions.parse({ ...asked, max_tokens: 3 }),
    OpenAI.LengthFinishReasonError,
  );
});

test("tools", async () => {
  const offered = [zodFunction({ name: "get_weather", parameters: GetWeather })];
  const asked = { ...weather, tools: offered, tool_choice: "required" };
  const choice = (await tools.chat.completions.parse(asked)).choices[0];
  assert.equal(choice.finish_reason, "tool_calls");
  const [call] = choice.message.tool_calls;
  assert.equal(call.function.name, "get_weather");
  assert.ok(["Paris", "Rome"].includes(call.function.parsed_arguments.city));
  const streamed = await tools.chat.completions.stream(asked).finalChatCompletion();
  assert.deepEqual(
    streamed.choices[0].message.tool_calls[0].function.arguments,
    call.function.arguments,
  );
  const named = { type: "function", function: { name: "get_weather" } };
  const chosen = await tools.chat.completions.create({ ...asked, tool_choice: named });
  assert.equal(chosen.choices[0].message.tool_calls.length, 1);
});

test("tool runner", async () => {
  const asked = [];
  const runTools = {
    type: "function",
    function: {
      name: "get_weather",
      description: "Tell the weather of a city",
      parameters: z.toJSONSchema(GetWeather),
      parse: JSON.parse,
      function: ({ city }) => {
        asked.push(city);
        return "It is sunny.";
      },
    },
  };
  // the first answer has to call, and the package then asks once more with what the function said
  const tool_choice = { type: "function", function: { name: "get_weather" } };
  const runner = tools.chat.completions.runTools({ ...weather, tools: [runTools], tool_choice });
  await runner.done();
  assert.equal(asked.length, 1);
  assert.ok(["Paris", "Rome"].includes(asked[0]));
  assert.deepEqual(runner.messages.map((one) => one.role), ["user", "assistant", "tool"]);
});

test("embeddings", async () => {
  const input = ["The weather is lovely today.", "It is sunny outside!", "He drove to the stadium."];
  // the package asks for base64 and decodes it, unless told otherwise
  const plain = await client.embeddings.create({ model: "minilm", input, encoding_format: "float" });
  const packed = await client.embeddings.create({ model: "minilm", input });
  assert.equal(packed.data.length, 3);
  for (const [index, one] of packed.data.entries())
    for (const [place, value] of one.embedding.entries())
      assert.ok(Math.abs(value - plain.data[index].embedding[place]) < 1e-6);
  const [first, second, third] = packed.data.map((one) => one.embedding);
  const product = (one, other) => one.reduce((sum, value, place) => sum + value * other[place], 0);
  assert.ok(product(first, second) > product(first, third));
});

test("errors", async () => {
  const refused = (fields, kind, param) =>
    assert.rejects(client.chat.completions.create({ ...greedy, ...fields }), (error) => {
      assert.ok(error instanceof kind, String(error));
      assert.equal(error.param, param);
      return true;
    });
  await refused({ temperature: 3 }, OpenAI.BadRequestError, "temperature");
  await refused({ suffix: "a" }, OpenAI.BadRequestError, "suffix");
  await refused({ suffix: "a", stream: true }, OpenAI.BadRequestError, "suffix");
  await refused({ model: "gpt-4" }, OpenAI.NotFoundError, "model");
  const image = [{ type: "image_url", image_url: { url: "data:image/png;base64,AAAA" } }];
  await refused({ messages: [{ role: "user", content: image }] }, OpenAI.BadRequestError, "messages[0].content[0]");
});

test("too many at once", async () => {
  // 16 run and 128 wait
  const asked = { model, prompt: Array(4).fill("Once"), n: 64, max_tokens: 400, ignore_eos: true };
  await assert.rejects(client.completions.create(asked), (error) => {
    assert.ok(error instanceof OpenAI.RateLimitError, String(error));
    assert.equal(error.headers.get("retry-after"), "1");
    return true;
  });
  await until(async () => (await activeRequests()) === 0);
});

test("deadline of the package", async () => {
  const endless = { ...greedy, ignore_eos: true, max_tokens: 2000 };
  const late = client.chat.completions.create(endless, { timeout: 2000 });
  const refused = assert.rejects(late, OpenAI.APIConnectionTimeoutError);
  await until(async () => (await activeRequests()) === 1);
  await refused;
  await until(async () => (await activeRequests()) === 0);
});

test("error in the middle of a stream", async () => {
  const endless = { ...greedy, ignore_eos: true, stream: true, timeout: 1.5 };
  let heard = 0;
  await assert.rejects(
    (async () => {
      for await (const _ of await client.chat.completions.create(endless)) heard += 1;
    })(),
    (error) => error instanceof OpenAI.APIError && error.code === "timeout",
  );
  assert.ok(heard > 0);
});

test("abort", async () => {
  const endless = { ...greedy, ignore_eos: true, stream: true };
  const left = await client.chat.completions.create(endless);
  for await (const _ of left) break; // the package aborts what is not read to its end
  await until(async () => (await activeRequests()) === 0);

  const controller = new AbortController();
  const stream = await client.chat.completions.create(endless, { signal: controller.signal });
  await until(async () => (await activeRequests()) === 1);
  controller.abort();
  for await (const _ of stream); // ends quietly: it was asked for
  await until(async () => (await activeRequests()) === 0);

  const unanswered = new AbortController();
  const asked = client.chat.completions.create({ ...endless, stream: false }, { signal: unanswered.signal });
  const refused = assert.rejects(asked, OpenAI.APIUserAbortError);
  await until(async () => (await activeRequests()) === 1);
  unanswered.abort();
  await refused;
  await until(async () => (await activeRequests()) === 0);
});

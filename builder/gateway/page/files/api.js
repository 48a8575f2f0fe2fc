// The gateway's own API. Addresses are relative: the page may be served beneath a prefix of a proxy.
import { events } from "./events.js";

const KEY = "builder.chat.key";

/** An answer that the gateway refuses, in its own words. */
export class Refusal extends Error {
  constructor(status, message, code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

/** Return the models that chat: [{id, max_model_len?}]. Throws Refusal. */
export async function chatModels() {
  const response = await ask("v1/models");
  const { data } = await response.json();
  return data.filter((model) => model.capabilities.completion_chat);
}

/** Yield the chunks of a streamed answer, parsed; aborting `signal` ends it at the server. Throws Refusal. */
export async function* chat(body, signal) {
  const response = await ask("v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Refusal(200, chunk.error.message, chunk.error.code);
    yield chunk;
  }
  throw new Refusal(200, "The connection was cut in the middle of the answer.", "cut");
}

async function ask(address, options = {}) {
  const headers = { ...options.headers };
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  let response;
  try {
    response = await fetch(address, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "The gateway cannot be reached.", "unreachable");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  const text = await response.text();
  try {
    const { message, code } = JSON.parse(text).error;
    return new Refusal(response.status, message, code);
  } catch {
    // something between that is not the gateway
    return new Refusal(response.status, `HTTP ${response.status} ${text.slice(0, 200)}`.trim(), null);
  }
}

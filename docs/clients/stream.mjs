// Stream one answer over HTTP with Node 18 or newer, no packages; Ctrl-C stops it.

const MODEL = "http://127.0.0.1:8000/v2/models/smollm2";

/** Yield the pieces of the answer; leaving early, or the signal, closes the connection and stops the model. */
async function* stream(question, { maxTokens = 256, signal } = {}) {
  const response = await fetch(`${MODEL}/generate_stream`, {
    method: "POST",
    body: JSON.stringify({
      messages: JSON.stringify([{ role: "user", content: question }]),
      max_tokens: maxTokens,
      stream: true,
    }),
    signal,
  });
  let rest = "";
  let finished = false;
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop(); // the last line may go on in the next piece
    for (const line of lines.filter((line) => line.startsWith("data:"))) {
      const event = JSON.parse(line.slice(5));
      if (event.error) throw new Error(event.error);
      finished ||= event.finish_reason !== "";
      yield event.text_output;
    }
  }
  if (!response.ok) throw new Error(`HTTP ${response.status} ${rest}`);
  if (!finished) throw new Error("the server went away in the middle of the answer");
}

const stop = new AbortController();
process.once("SIGINT", () => stop.abort());
try {
  const question = process.argv.slice(2).join(" ") || "What is the capital of France?";
  for await (const piece of stream(question, { signal: stop.signal })) process.stdout.write(piece);
  console.log();
} catch (error) {
  const said = stop.signal.aborted ? "stopped" : `error: ${error.cause?.message ?? error.message}`;
  console.error(`\n${said}`);
  process.exitCode = stop.signal.aborted ? 130 : 1;
}

// What was asked and answered; lives as long as the page.

/** One question with its answer; `usage`, `seconds`, `firstAfter` and `reason` are known at its end. */
export class Exchange {
  constructor(question, model) {
    this.question = question;
    this.model = model;
    this.answer = "";
    this.reason = null;
    this.usage = null;
    this.failure = null;
    this.stopped = false;
    this.started = performance.now();
    this.first = null;
    this.last = null;
  }

  /** Take in one chunk of the stream; return whether the answer has grown. */
  hear(chunk) {
    if (chunk.usage) this.usage = chunk.usage;
    const choice = chunk.choices?.[0];
    if (!choice) return false;
    if (choice.finish_reason) this.reason = choice.finish_reason;
    const text = choice.delta?.content;
    if (!text) return false;
    this.last = performance.now();
    this.first ??= this.last;
    this.answer += text;
    return true;
  }

  /** Return tokens per second after the first one, or null where there is nothing to measure. */
  get speed() {
    const tokens = (this.usage?.completion_tokens ?? 0) - 1;
    const seconds = (this.last - this.first) / 1000;
    return tokens > 0 && seconds > 0 ? tokens / seconds : null;
  }

  /** Return seconds until the first text, or null. */
  get firstAfter() {
    return this.first === null ? null : (this.first - this.started) / 1000;
  }
}

export class Conversation {
  exchanges = [];

  begin(question, model) {
    this.exchanges.push(new Exchange(question, model));
    return this.exchanges.at(-1);
  }

  drop(exchange) {
    this.exchanges = this.exchanges.filter((one) => one !== exchange);
  }

  /** Return it as `messages`; a question without an answer is left out unless it is the last. */
  messages(system) {
    const told = system ? [{ role: "system", content: system }] : [];
    const last = this.exchanges.at(-1);
    for (const exchange of this.exchanges) {
      if (exchange !== last && !exchange.answer) continue;
      told.push({ role: "user", content: exchange.question });
      if (exchange.answer) told.push({ role: "assistant", content: exchange.answer });
    }
    return told;
  }
}

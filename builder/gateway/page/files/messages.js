// What is seen of an exchange: the question, the answer as it grows, what it took.
import { copyButton, element } from "./elements.js";
import { show } from "./markdown.js";

const whole = new Intl.NumberFormat("en");
const rounded = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
// a render may take a quarter of the time: the rest is for the reader's scrolling and typing
const SHARE = 4;

/** One exchange on the page; `moved` is called whenever it has grown. */
export class View {
  constructor(exchange, moved) {
    this.exchange = exchange;
    this.moved = moved;
    this.text = element("div", { class: "prose" });
    this.foot = element("footer", { class: "foot" });
    this.answer = element("article", { class: "answer waiting", "aria-busy": "true" });
    this.answer.append(element("h2", { class: "hidden" }, exchange.model), this.text, this.foot);
    this.question = element("article", { class: "question" });
    this.question.append(element("h2", { class: "hidden" }, "You"), element("p", {}, exchange.question));
    this.timer = null;
    this.cost = 0;
  }

  /** Show what has come, soon: several chunks are shown at once. */
  grow() {
    if (this.timer !== null) return;
    this.timer = setTimeout(() => requestAnimationFrame(() => this.render()), this.cost * SHARE);
  }

  render(ended = false) {
    if (this.timer === null) return;
    clearTimeout(this.timer);
    this.timer = null;
    const before = performance.now();
    this.answer.classList.remove("waiting");
    show(this.text, this.exchange.answer, ended);
    this.cost = performance.now() - before;
    this.moved();
  }

  /** Show how it ended; `again` asks once more after a failure. */
  end(again) {
    this.timer ??= 0;
    this.render(true);
    this.answer.removeAttribute("aria-busy");
    this.answer.classList.add("ended");
    const { exchange } = this;
    if (exchange.failure) this.text.after(failure(exchange.failure, again));
    const facts = told(exchange);
    if (facts.length) this.foot.append(element("p", { class: "facts" }, ...facts));
    if (exchange.answer) this.foot.append(copyButton(() => exchange.answer, "this answer"));
    this.moved();
  }

  remove() {
    this.question.remove();
    this.answer.remove();
  }
}

function failure(error, again) {
  const button = element("button", { type: "button", class: "small" }, "Try again");
  button.addEventListener("click", again);
  return element("div", { class: "error" }, element("p", {}, error.message), button);
}

function told(exchange) {
  const facts = [];
  const { usage, speed, firstAfter } = exchange;
  if (exchange.stopped) facts.push("stopped");
  if (exchange.reason === "length") facts.push("cut at the longest answer");
  if (usage) facts.push(`${whole.format(usage.prompt_tokens)} tokens in, ${whole.format(usage.completion_tokens)} out`);
  if (speed !== null) facts.push(`${rounded.format(speed)} tokens/s`);
  if (firstAfter !== null) facts.push(`first after ${duration(firstAfter)}`);
  return facts.map((fact) => element("span", {}, fact));
}

function duration(seconds) {
  return seconds < 1 ? `${whole.format(Math.round(seconds * 1000))} ms` : `${rounded.format(seconds)} s`;
}

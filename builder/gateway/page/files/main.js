// The page, put together: what is asked, how an answer comes, what the keys do.
import * as composer from "./composer.js";
import * as picker from "./picker.js";
import * as scrolling from "./scrolling.js";
import * as settings from "./settings.js";
import * as shortcuts from "./shortcuts.js";
import * as theme from "./theme.js";
import { Announcer } from "./announcer.js";
import { chat } from "./api.js";
import { askForKey } from "./asking-key.js";
import { Conversation } from "./conversation.js";
import { byId, say } from "./elements.js";
import { View } from "./messages.js";

const count = new Intl.NumberFormat("en");
const NOTICE = byId("notice").textContent;
let conversation = new Conversation();
let answering = null;

/** Look which models there are; where the server wants a key, ask for one. */
async function look() {
  const refused = await refresh();
  if (refused?.status === 401 && (await askForKey(refused.message))) await look();
}

/** Look which models there are; return the refusal, if it is one. */
async function refresh() {
  let refused = null;
  try {
    const found = await picker.refresh();
    notice(found ? NOTICE : "No chat model is loaded yet. It appears here as soon as one is.", false);
  } catch (error) {
    refused = error;
    picker.none();
    notice(error.message, true);
  }
  showContext();
  return refused;
}

function notice(text, isError) {
  byId("notice").textContent = text;
  byId("notice").classList.toggle("error", isError);
}

function showContext(exchange = conversation.exchanges.at(-1)) {
  const used = exchange?.usage?.total_tokens;
  const length = picker.contextLength();
  const told = used ? `${count.format(used)} of ${count.format(length)} tokens` : `${count.format(length)} tokens of context`;
  byId("context").textContent = length ? told : "";
}

/** Ask; return whether the question was taken. */
function ask(question) {
  if (answering) {
    say("Stop the answer first, or wait for its end");
    return false;
  }
  if (!picker.chosen()) {
    look();
    return false;
  }
  answer(conversation.begin(question, picker.chosen()));
  return true;
}

async function answer(exchange) {
  const view = new View(exchange, scrolling.follow);
  const announcer = new Announcer(view.text);
  const controller = new AbortController();
  answering = controller;
  composer.setBusy(true);
  byId("welcome").hidden = true;
  byId("messages").append(view.question, view.answer);
  scrolling.toEnd();
  say("Sent");
  try {
    await hear(exchange, controller.signal, () => {
      view.grow();
      announcer.hear();
    });
  } catch (error) {
    if (controller.signal.aborted) exchange.stopped = true;
    else exchange.failure = error;
  }
  // a new chat has begun meanwhile
  if (answering !== controller) return;
  answering = null;
  composer.setBusy(false);
  view.end(() => again(exchange, view));
  announcer.hear(true);
  say(exchange.failure?.message ?? (exchange.stopped ? "Stopped" : "Answered"));
  showContext();
  if (exchange.failure?.status === 401 && (await askForKey(exchange.failure.message))) again(exchange, view);
}

async function hear(exchange, signal, grown) {
  const { system, parameters } = settings.read();
  const body = { model: exchange.model, messages: conversation.messages(system), ...parameters };
  for await (const chunk of chat(body, signal)) if (exchange.hear(chunk)) grown();
}

function again(exchange, view) {
  if (answering) return;
  conversation.drop(exchange);
  view.remove();
  ask(exchange.question);
}

function stop() {
  answering?.abort();
}

function renew() {
  stop();
  answering = null;
  composer.setBusy(false);
  conversation = new Conversation();
  byId("messages").replaceChildren();
  byId("welcome").hidden = false;
  showContext();
  composer.focus();
  say("New chat");
}

function escape() {
  if (answering) stop();
  else composer.focus();
}

theme.offer(byId("theme"));
settings.begin();
scrolling.begin();
picker.begin(() => showContext());
composer.begin({ sent: ask, stopped: stop, last: () => conversation.exchanges.at(-1)?.question });
byId("new").addEventListener("click", renew);
byId("open-shortcuts").addEventListener("click", () => byId("shortcuts").showModal());
byId("open-key").addEventListener("click", async () => {
  if (await askForKey()) look();
});
// models come and go while nobody looks
window.addEventListener("focus", refresh);
byId("model").addEventListener("focus", refresh);
shortcuts.begin(
  {
    k: renew,
    ",": settings.toggle,
    ".": () => byId("model").focus(),
    "/": () => byId("shortcuts").showModal(),
  },
  escape,
);
look();

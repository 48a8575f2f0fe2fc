// The box in which a message is written, and its two buttons.
import { byId } from "./elements.js";

const form = byId("composer");
const prompt = byId("prompt");
const send = byId("send");
const stop = byId("stop");

/** Show which of sending and stopping is possible. */
export function setBusy(busy) {
  const focused = document.activeElement === send || document.activeElement === stop;
  send.hidden = busy;
  stop.hidden = !busy;
  if (focused) focus();
}

export function focus() {
  prompt.focus();
}

/** Put a text into the box. */
export function write(text) {
  prompt.value = text;
  fit();
  focus();
}

function fit() {
  prompt.style.height = "auto";
  prompt.style.height = `${prompt.scrollHeight}px`;
}

/** Hear what is written: `sent(text)` returns whether it was taken, `last()` the message before. */
export function begin({ sent, stopped, last }) {
  const submit = () => {
    const text = prompt.value.trim();
    if (!text || !sent(text)) return;
    prompt.value = "";
    fit();
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  stop.addEventListener("click", stopped);
  prompt.addEventListener("input", fit);
  prompt.addEventListener("keydown", (event) => {
    // Enter that ends the composition of a character sends nothing
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      submit();
    } else if (event.key === "ArrowUp" && !prompt.value && last()) {
      event.preventDefault();
      write(last());
    }
  });
}

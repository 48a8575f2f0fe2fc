// The panel of settings: beside the chat where there is room, else above it.
import { byId } from "./elements.js";

const NAME = "builder.chat.settings";
const FIELDS = ["system", "temperature", "max-tokens"];
const wide = matchMedia("(min-width: 60rem)");

const panel = byId("settings");
const opener = byId("open-settings");

function kept() {
  try {
    return JSON.parse(localStorage.getItem(NAME)) ?? {};
  } catch {
    return {};
  }
}

/** Remember one thing in this browser. */
export function keep(name, value) {
  localStorage.setItem(NAME, JSON.stringify({ ...kept(), [name]: value }));
}

/** Return what was remembered of one thing, or "". */
export function remembered(name) {
  return kept()[name] ?? "";
}

/** Return what they say about a request: the system prompt, and parameters by the API's names. */
export function read() {
  const parameters = {};
  const [system, temperature, longest] = FIELDS.map((name) => byId(name).value.trim());
  if (temperature) parameters.temperature = Number(temperature);
  if (longest) parameters.max_completion_tokens = Number(longest);
  return { system, parameters };
}

export function toggle() {
  if (panel.open) {
    panel.close();
    return;
  }
  if (wide.matches) panel.show();
  else panel.showModal();
  opener.setAttribute("aria-expanded", "true");
}

/** Fill the fields and hear what changes. */
export function begin() {
  for (const name of FIELDS) {
    const field = byId(name);
    field.value = remembered(name);
    field.addEventListener("input", () => keep(name, field.value));
  }
  opener.addEventListener("click", toggle);
  panel.addEventListener("close", () => opener.setAttribute("aria-expanded", "false"));
  panel.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || panel.matches(":modal")) return;
    event.stopPropagation();
    panel.close();
  });
  // Enter in a field of a form with a button would press it
  panel.querySelector("form").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.matches("input")) event.preventDefault();
  });
  wide.addEventListener("change", () => panel.open && panel.close());
}

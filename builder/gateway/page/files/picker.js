// The models that chat, as they come and go.
import { chatModels } from "./api.js";
import { byId, element } from "./elements.js";
import { keep, remembered } from "./settings.js";

const select = byId("model");
let lengths = new Map();

/** Return the chosen model's name, or "" while there is none. */
export function chosen() {
  return select.disabled ? "" : select.value;
}

/** Return how many tokens the chosen model's context holds, or null. */
export function contextLength() {
  return lengths.get(chosen()) ?? null;
}

/** Ask what there is and offer it; return how many. Throws Refusal. */
export async function refresh() {
  const models = await chatModels();
  lengths = new Map(models.map((model) => [model.id, model.max_model_len]));
  const names = models.map((model) => model.id);
  const shown = select.disabled ? null : [...select.options].map((option) => option.value);
  if (JSON.stringify(names) !== JSON.stringify(shown)) offer(models);
  return names.length;
}

function offer(models) {
  const before = chosen() || remembered("model");
  select.replaceChildren(...models.map((model) => element("option", { value: model.id }, model.id)));
  select.disabled = models.length === 0;
  if (select.disabled) none();
  else if (models.some((model) => model.id === before)) select.value = before;
}

/** Show that there is nothing to choose from. */
export function none() {
  if (select.disabled) select.replaceChildren(element("option", {}, "No chat model"));
}

/** Remember what is chosen and tell of it. */
export function begin(changed) {
  select.addEventListener("change", () => {
    keep("model", select.value);
    changed();
  });
}

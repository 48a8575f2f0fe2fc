// The window that asks for the API key, which stays in this tab.
import { key } from "./api.js";
import { byId } from "./elements.js";

const dialog = byId("key");
const field = byId("key-field");
const message = byId("key-message");

/** Ask for a key, showing why it is asked; resolve to whether one was given. */
export function askForKey(why = "") {
  message.textContent = why;
  message.hidden = !why;
  field.value = key.get();
  dialog.returnValue = "";
  if (!dialog.open) dialog.showModal();
  field.focus();
  field.select();
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => {
        const given = dialog.returnValue === "use";
        if (given) key.set(field.value.trim());
        field.value = "";
        resolve(given);
      },
      { once: true },
    );
  });
}

byId("key-cancel").addEventListener("click", () => dialog.close("cancel"));

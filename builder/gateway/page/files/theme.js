// Dark or light: as the system has it, until somebody chooses.

const NAME = "builder.chat.theme";
const dark = matchMedia("(prefers-color-scheme: dark)");

const chosen = () => localStorage.getItem(NAME);
const isDark = () => (chosen() ?? (dark.matches ? "dark" : "light")) === "dark";

function apply() {
  // without it the stylesheet follows the system
  if (chosen()) document.documentElement.dataset.theme = chosen();
  document.getElementById("theme")?.setAttribute("aria-pressed", String(isDark()));
}

/** Let a button switch it. */
export function offer(button) {
  button.addEventListener("click", () => {
    localStorage.setItem(NAME, isDark() ? "light" : "dark");
    apply();
  });
  apply();
}

dark.addEventListener("change", apply);
apply();

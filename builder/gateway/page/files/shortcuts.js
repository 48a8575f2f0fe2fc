// The keys of the page; the window that lists them is in index.html.

/**
 * Hear keys wherever the focus is.
 *
 * `actions` maps what is pressed with Ctrl or ⌘ to what it does; `escape` returns whether it had something to do.
 */
export function begin(actions, escape) {
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog:modal") || event.isComposing) return;
    if (event.key === "Escape") {
      escape();
      return;
    }
    const action = (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && actions[event.key.toLowerCase()];
    // on some keyboards / is typed with Shift
    const listed = (event.ctrlKey || event.metaKey) && event.key === "/" && actions["/"];
    const found = action || listed;
    if (!found) return;
    event.preventDefault();
    found();
  });
}

// Reads an answer to those who listen: block by block as each is finished, never a token at a time.
import { byId, element } from "./elements.js";

const log = byId("announcer");

export class Announcer {
  constructor(container) {
    this.container = container;
    this.told = 0;
    log.replaceChildren();
  }

  /** Tell the blocks that nothing more will be added to: all but the last, or all at the end. */
  hear(ended = false) {
    const blocks = [...this.container.children];
    const settled = ended ? blocks.length : blocks.length - 1;
    for (const block of blocks.slice(this.told, settled)) {
      const code = block.querySelector("code") && block.classList.contains("code");
      log.append(element("p", {}, code ? "A block of code." : block.textContent));
    }
    this.told = Math.max(this.told, settled);
  }
}

// Stays at the end of a growing conversation, unless the reader has gone up.
import { byId } from "./elements.js";

const scroller = byId("scroller");
const latest = byId("latest");
const NEAR = 48;
let following = true;

const distance = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight;

/** Follow what has grown. */
export function follow() {
  if (following) scroller.scrollTop = scroller.scrollHeight;
  latest.hidden = following || distance() < NEAR;
}

/** Go to the end, and follow again. */
export function toEnd() {
  following = true;
  follow();
}

export function begin() {
  let before = 0;
  scroller.addEventListener("scroll", () => {
    // only going up leaves the end: content that shrinks or grows does not
    if (distance() < NEAR) following = true;
    else if (scroller.scrollTop < before) following = false;
    before = scroller.scrollTop;
    latest.hidden = following || distance() < NEAR;
  });
  latest.addEventListener("click", toEnd);
}

// Markdown as elements: marked takes it apart, and each part becomes an element made by name. HTML in it stays text.
import { lexer } from "./vendor/marked.esm.js";
import { copyButton, element } from "./elements.js";

const LINKS = /^(https?:|mailto:)/i;
const ENTITIES = {
  amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", copy: "©", reg: "®", deg: "°", times: "×",
  ndash: "–", mdash: "—", hellip: "…", rarr: "→", larr: "←", le: "≤", ge: "≥", ne: "≠", middot: "·", euro: "€",
};
const shown = new WeakMap();
// a list or a quotation may go on after a blank line: so many blocks are not settled before the end
const OPEN_BLOCKS = 2;

/**
 * Show a text in a container, the same as before with something added. What is settled is neither read nor made
 * again, so that a growing answer costs no more than its end; once it has `ended`, all of it is read as a whole.
 */
export function show(container, text, ended = false) {
  const before = shown.get(container) ?? { blocks: [], count: 0, length: 0 };
  const { count, length } = ended ? { count: 0, length: 0 } : before;
  const tokens = taken(text.slice(length));
  // a definition at the end changes links at the beginning
  const whole = Object.keys(tokens.links ?? {}).length > 0;
  const blocks = before.blocks.slice(0, count);
  for (const token of tokens.filter(isSeen)) {
    blocks.push(renewed(container, before.blocks[blocks.length], token, whole));
  }
  for (const { node } of before.blocks.slice(blocks.length)) node.remove();
  const settled = settling(tokens, text.length - length);
  shown.set(container, { blocks, count: count + settled.count, length: length + settled.length });
}

/** Return how many blocks at the beginning are settled, and how many characters those take, of so many in all. */
function settling(tokens, characters) {
  // marked may count otherwise: a line end of two characters is one to it
  if (rawLength(tokens) !== characters) return { count: 0, length: 0 };
  const open = tokens.filter(isSeen).at(-OPEN_BLOCKS);
  const settled = tokens.slice(0, Math.max(0, tokens.indexOf(open)));
  return { count: settled.filter(isSeen).length, length: rawLength(settled) };
}

const rawLength = (tokens) => tokens.reduce((sum, token) => sum + token.raw.length, 0);

function renewed(container, old, token, whole) {
  if (old && !whole && old.raw === token.raw && old.type === token.type) return old;
  const made = { raw: token.raw, type: token.type, lang: token.lang };
  if (old?.type === "code" && token.type === "code" && old.lang === token.lang) {
    // its button keeps the focus, its text the selection
    old.node.querySelector("code").textContent = token.text;
    return { ...made, node: old.node };
  }
  made.node = block(token);
  if (old) old.node.replaceWith(made.node);
  else container.append(made.node);
  return made;
}

function taken(text) {
  try {
    // models end lines where they mean it
    return lexer(text, { gfm: true, breaks: true });
  } catch {
    // nested beyond what the stack holds
    return [{ type: "html", raw: text, text }];
  }
}

function block(token) {
  switch (token.type) {
    case "heading":
      // the page has the first level, a message the second
      return element(`h${Math.min(6, token.depth + 2)}`, {}, ...inline(token.tokens));
    case "code":
      return code(token);
    case "blockquote":
      return element("blockquote", {}, ...token.tokens.filter(isSeen).map(block));
    case "list":
      return list(token);
    case "table":
      return table(token);
    case "hr":
      return element("hr");
    case "html":
      return element("p", { class: "raw" }, token.text.trimEnd());
    default:
      return element("p", {}, ...inline(token.tokens ?? [token]));
  }
}

const isSeen = (token) => token.type !== "space" && token.type !== "def";

function code(token) {
  const language = (token.lang ?? "").split(/\s/)[0];
  const text = element("code", {}, token.text);
  const named = language ? `Code, ${language}` : "Code";
  const bar = element("div", { class: "code-bar" }, element("span", {}, language || "text"));
  bar.append(copyButton(() => text.textContent, "this code"));
  return element("div", { class: "code" }, bar, element("pre", { tabindex: "0", role: "region", "aria-label": named }, text));
}

function list(token) {
  const items = token.items.map((item) => element("li", { class: item.task && "task" }, ...itemParts(item, token.loose)));
  const start = token.ordered && token.start !== 1 ? token.start : null;
  return element(token.ordered ? "ol" : "ul", { start }, ...items);
}

function itemParts(item, loose) {
  return item.tokens.filter(isSeen).flatMap((token) => {
    if (token.type === "checkbox") return inline([token]);
    return token.type === "text" && !loose ? inline(token.tokens ?? [token]) : [block(token)];
  });
}

function table(token) {
  const cell = (name) => (one) => element(name, { class: one.align && `to-${one.align}` }, ...inline(one.tokens));
  const head = element("thead", {}, element("tr", {}, ...token.header.map(cell("th"))));
  const rows = token.rows.map((row) => element("tr", {}, ...row.map(cell("td"))));
  const made = element("table", {}, head, element("tbody", {}, ...rows));
  return element("div", { class: "table", tabindex: "0", role: "region", "aria-label": "Table" }, made);
}

function inline(tokens) {
  return tokens.map((token) => {
    switch (token.type) {
      case "strong":
      case "em":
      case "del":
        return element(token.type, {}, ...inline(token.tokens));
      case "codespan":
        return element("code", {}, token.text);
      case "br":
        return element("br");
      case "checkbox":
        return token.checked ? "☑ " : "☐ ";
      case "link":
        return link(token, inline(token.tokens));
      case "image":
        // loading it would tell its server that this was read
        return link(token, [token.text || token.href]);
      case "html":
        return token.text;
      default:
        return token.tokens ? element("span", {}, ...inline(token.tokens)) : decoded(token.text ?? token.raw);
    }
  });
}

function link(token, children) {
  if (!LINKS.test(token.href)) return element("span", {}, ...children);
  return element("a", { href: token.href, title: token.title, rel: "noopener noreferrer", target: "_blank" }, ...children);
}

function decoded(text) {
  return text.replace(/&(?:#(\d{1,7})|#x([\da-f]{1,6})|([a-z]{2,8}));/gi, (written, decimal, hexadecimal, name) => {
    if (name) return ENTITIES[name] ?? written;
    const point = decimal ? Number(decimal) : parseInt(hexadecimal, 16);
    return point > 0 && point <= 0x10ffff ? String.fromCodePoint(point) : written;
  });
}

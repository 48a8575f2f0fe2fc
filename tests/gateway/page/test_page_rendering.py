"""Answers on the page: Markdown becomes elements, everything else stays text, and long ones stay fast."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from chat_page import ChatPage
from gateway_process import Gateway
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.gateway.page import serving

pytestmark = pytest.mark.triton

# of https://cheatsheetseries.owasp.org/cheatsheets/XSS_Filter_Evasion_Cheat_Sheet.html, in our words
ATTACKS = (
    "<script>window.hit = 1</script>",
    "<img src=x onerror='window.hit = 1'>",
    "<svg/onload=window.hit=1>",
    "<iframe srcdoc='<script>parent.hit = 1</script>'></iframe>",
    "<details open ontoggle='window.hit = 1'>x</details>",
    "[click](javascript:window.hit=1)",
    "[click](JaVaScRiPt&colon;window.hit=1)",
    "[click](&#106;avascript:window.hit=1)",
    "[click](data:text/html,<script>window.hit=1</script>)",
    "[click](vbscript:x)",
    "[ref]: javascript:window.hit=1\n\n[ref]",
    "<javascript:window.hit=1>",
    "![x](x 'onerror=window.hit=1')",
    '![x](https://example.org/a.png" onerror="window.hit=1)',
    "```<img/src=x/onerror=window.hit=1>\ncode\n```",
    "|a|\n|-|\n|<img src=x onerror=window.hit=1>|",
    "# <a href='javascript:window.hit=1'>x</a>",
    "- <style>*{display:none}</style>",
    "&lt;script&gt;window.hit = 1&lt;/script&gt;",
    "<base href='https://example.org/'>",
    "<meta http-equiv=refresh content='0;url=https://example.org'>",
)
ALLOWED = {
    *(
        "P",
        "H3",
        "H4",
        "H5",
        "H6",
        "STRONG",
        "EM",
        "DEL",
        "CODE",
        "BR",
        "A",
        "SPAN",
        "BLOCKQUOTE",
        "UL",
        "OL",
        "LI",
    ),
    *("TABLE", "THEAD", "TBODY", "TR", "TH", "TD", "HR", "DIV", "PRE", "BUTTON"),
}
SHOW = """async (texts) => {
  const { show } = await import("./page/markdown.js");
  const box = document.createElement("div");
  document.querySelector("#messages").append(box);
  for (const text of texts) show(box, text);
  show(box, texts.at(-1), true);
  const all = [...box.querySelectorAll("*")];
  const told = {
    names: [...new Set(all.map((one) => one.tagName))],
    attributes: [...new Set(all.flatMap((one) => one.getAttributeNames()))],
    links: all.filter((one) => one.href).map((one) => one.href),
    text: box.textContent,
    html: box.innerHTML,
  };
  box.remove();
  return told;
}"""


def shown(chat: ChatPage, *texts: str) -> dict[str, Any]:
    """Show texts one after the other in one place, as an answer that grows; return what is there."""
    return dict(chat.page.evaluate(SHOW, list(texts)))


def require_harmless(chat: ChatPage, told: dict[str, Any]) -> None:
    assert set(told["names"]) <= ALLOWED
    assert set(told["attributes"]) <= {
        *("class", "href", "title", "rel", "target", "start", "tabindex", "role", "aria-label", "type")
    }
    assert all(link.startswith(("http://", "https://", "mailto:")) for link in told["links"])
    assert chat.page.evaluate("window.hit") is None


@pytest.mark.parametrize("attack", ATTACKS)
def test_injections_stay_text(attack: str, chat: ChatPage) -> None:
    require_harmless(chat, shown(chat, attack))


def test_injections_in_a_real_answer(chat: ChatPage) -> None:
    attacks = [attack for attack in ATTACKS if attack.startswith("<")][:5]
    for attack in attacks:
        chat.button("New chat").click()
        chat.ask(attack)
        assert attack in chat.prose.inner_text()
        assert attack in chat.page.locator("article.question").last.inner_text()
    assert chat.page.evaluate("window.hit") is None
    assert chat.page.locator("#messages :is(script, img, svg, iframe, details)").count() == 0


def test_any_text_is_harmless_and_a_growing_one_ends_alike(chat: ChatPage) -> None:
    pieces = st.sampled_from(
        [
            *ATTACKS,
            "*",
            "**",
            "`",
            "```\n",
            "```py\n",
            "> ",
            "- ",
            "1. ",
            "\n",
            "\n\n",
            "| a | b |\n|-|-|\n",
            "#",
        ]
    )

    @settings(max_examples=40, deadline=None)
    @given(st.lists(pieces | st.text(max_size=12), min_size=1, max_size=8))
    def check(parts: list[str]) -> None:
        growing = ["".join(parts[: end + 1]) for end in range(len(parts))]
        grown = shown(chat, *growing)
        require_harmless(chat, grown)
        assert grown["html"] == shown(chat, growing[-1])["html"]

    check()


def test_markdown(chat: ChatPage) -> None:
    told = shown(
        chat,
        "# One\n\n**b** *e* ~~d~~ `c<d` [l](https://example.org) a &amp; b &lt;i&gt;\nnext\n\n"
        "- [x] done\n- two\n  1. in\n\n3. three\n\n> said\n\n|a|b|\n|:-|-:|\n|1|2|\n\n---\n\n"
        "```py extra\nx = 1 < 2\n```\n\n![a cat](https://example.org/cat.png)",
    )
    html = told["html"]
    for part in (
        "<h3>One</h3>",
        "<strong>b</strong> <em>e</em> <del>d</del> <code>c&lt;d</code>",
        "a &amp; b &lt;i&gt;<br>next</p>",
        "☑ done",
        "<ol><li>in</li></ol>",
        '<ol start="3"><li>three</li></ol>',
        "<blockquote><p>said</p></blockquote>",
        '<td class="to-right">2</td>',
        "<hr>",
        "<span>py</span>",
        "<code>x = 1 &lt; 2</code>",
        ">a cat</a>",
    ):
        assert part in html, part
    assert told["links"] == ["https://example.org/", "https://example.org/cat.png"]


def test_deeply_nested_text_is_shown(chat: ChatPage) -> None:
    assert "end" in shown(chat, "> " * 20_000 + "end")["text"]
    assert "end" in shown(chat, "[" * 20_000 + "end")["text"]


def test_what_has_not_changed_is_left_alone(chat: ChatPage) -> None:
    left = chat.page.evaluate(
        """async () => {
          const { show } = await import("./page/markdown.js");
          const box = document.createElement("div");
          document.body.append(box);
          let text = "";
          for (let part = 0; part < 200; part++) text += `Paragraph ${part}\\n\\n`;
          show(box, text);
          const before = [...box.children];
          let changed = 0;
          const observer = new MutationObserver((seen) => (changed += seen.length));
          observer.observe(box, { childList: true, subtree: true });
          show(box, text + "and more\\n\\n```py\\nx");
          const code = box.querySelector("pre");
          show(box, text + "and more\\n\\n```py\\nx = 1");
          await null;
          const left = before.every((node, place) => box.children[place] === node);
          return [left, box.querySelector("pre") === code, code.textContent, changed];
        }"""
    )
    assert left == [True, True, "x = 1", 3]


def test_a_growing_answer_is_not_read_from_its_beginning_again(chat: ChatPage) -> None:
    shown_rightly, read_again = chat.page.evaluate(
        """async () => {
          const { show } = await import("./page/markdown.js");
          const box = document.createElement("div");
          document.body.append(box);
          let text = "";
          let longest = 0;
          const slice = String.prototype.slice;
          for (let part = 0; part < 300; part++) {
            text += `Paragraph **${part}**\\n\\n- one\\n- two\\n\\n`;
            String.prototype.slice = function (...places) {
              const given = slice.apply(this, places);
              if (this.length === text.length) longest = Math.max(longest, given.length);
              return given;
            };
            show(box, text);
            String.prototype.slice = slice;
          }
          const last = box.querySelector("p:last-of-type").textContent;
          return [box.children.length === 600 && last === "Paragraph 299", longest];
        }"""
    )
    assert shown_rightly
    # three times what is added at a time
    assert read_again < 150


def test_a_question_is_never_markdown(chat: ChatPage) -> None:
    chat.ask("**bold** `x`")
    assert chat.page.locator("article.question").last.inner_text().strip().endswith("**bold** `x`")


def test_copying(chat: ChatPage) -> None:
    chat.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    chat.ask("say\n\n```py\nx = 1\n```\n")
    chat.button("Copy this code").click()
    chat.page.get_by_text("Copied this code").wait_for(state="attached")
    assert chat.page.evaluate("navigator.clipboard.readText()") == "x = 1"
    chat.button("Copy this answer").click()
    chat.page.get_by_text("Copied this answer").wait_for(state="attached")
    assert "```py\nx = 1\n```" in chat.page.evaluate("navigator.clipboard.readText()")


def test_nothing_but_its_own_files_may_run(echo: Gateway) -> None:
    for path in ("/", "/page/main.js", "/page/style/theme.css", "/page/icon.svg"):
        status, headers, _ = echo.request("GET", path)
        policy = headers["content-security-policy"].split("; ")
        assert status == 200 and headers["x-content-type-options"] == "nosniff"
        assert {"default-src 'none'", "script-src 'self'", "require-trusted-types-for 'script'"} <= set(
            policy
        )
        assert "unsafe" not in headers["content-security-policy"]
    page = echo.request("GET", "/")[2].decode()
    assert not re.search(r"://|\sstyle=|\son\w+=|<style|<script(?![^>]* src=)", page)


def test_the_page_knows_the_api_and_nothing_else() -> None:
    folder = Path(serving.__file__).parent
    imported = [
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        for file in folder.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert not [name for name in imported if name and name.startswith("builder")]
    scripts = "".join(file.read_text(encoding="utf-8") for file in (folder / "files").glob("*.js"))
    assert set(re.findall(r"ask\(\"([^\"]+)", scripts)) == {"v1/models", "v1/chat/completions"}
    assert scripts.count("fetch(") == 1 and "innerHTML" not in scripts and "XMLHttpRequest" not in scripts


def test_what_is_the_pages_own() -> None:
    assert all(map(serving.holds, ("/", "/page/main.js", "/page/style/theme.css")))
    assert not any(map(serving.holds, ("", "/page", "/pages/x", "/v1/models", "//v1/models", "/docs")))


def test_files_are_revalidated(echo: Gateway) -> None:
    _, headers, _ = echo.request("GET", "/page/main.js")
    assert headers["cache-control"] == "no-cache"
    assert echo.request("GET", "/page/main.js", headers={"If-None-Match": headers["etag"]})[0] == 304


@pytest.mark.parametrize("path", ["/page/../app.py", "/page/%2e%2e/serving.py", "/page/none.js", "/page/"])
def test_other_files_are_not_served(path: str, echo: Gateway) -> None:
    status, error = echo.request("GET", path)[0], echo.get(path)[1]["error"]
    assert (status, error["code"]) == (404, "unknown_url")

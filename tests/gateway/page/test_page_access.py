"""The page for everybody: by keyboard alone, by listening, in dark and light, wide and narrow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from chat_page import ChatPage
from echoing_repository import ENDLESS, NAME, OFFENCE
from gateway_process import Gateway

pytestmark = pytest.mark.triton
NARROW = {"width": 360, "height": 640}
WIDE = {"width": 1280, "height": 800}
RICH = "# Title\n\n- a\n- b\n\n|a|b|\n|-|-|\n|1|2|\n\n> said [l](https://example.org)\n\n```py\nx = 1\n```\n"


def violations(chat: ChatPage) -> list[Any]:
    """Return what axe-core finds, each rule with the elements that break it."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(chat.page).response["violations"]
    return [(one["id"], [node["html"] for node in one["nodes"]]) for one in found]


def luminance(colour: list[int]) -> float:
    """Return the relative luminance of red, green and blue (w3.org/TR/WCAG22, "relative luminance")."""
    parts = [part / 255 for part in colour]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["narrow", "wide"])
def test_axe_finds_nothing(
    scheme: str, size: dict[str, int], echo: Gateway, opened: Callable[..., ChatPage]
) -> None:
    chat = opened(echo, color_scheme=scheme, viewport=size).visit()
    assert violations(chat) == []
    chat.ask(RICH)
    chat.ask(f"Say {OFFENCE}")
    assert violations(chat) == []
    for shortcut, window in (("Control+,", "Settings"), ("Control+/", "Keyboard shortcuts")):
        chat.page.keyboard.press(shortcut)
        chat.page.get_by_role("dialog", name=window).wait_for()
        assert violations(chat) == []
        chat.page.keyboard.press("Escape")
        chat.page.get_by_role("dialog", name=window).wait_for(state="hidden")
    chat.button("Settings").click()
    chat.button("Enter a key …").click()
    assert violations(chat) == []


def test_axe_is_not_blind(chat: ChatPage) -> None:
    chat.page.evaluate("document.querySelector('label[for=prompt]').remove()")
    chat.page.evaluate("document.querySelector('#prompt').removeAttribute('placeholder')")
    assert "label" in [name for name, _ in violations(chat)]


def test_a_journey_by_keyboard_alone(slow: Gateway, opened: Callable[..., ChatPage]) -> None:
    chat = opened(slow, viewport=WIDE).visit()
    keyboard = chat.page.keyboard
    assert chat.focused() == "prompt"
    keyboard.type("first")
    keyboard.press("Shift+Enter")
    keyboard.type("second")
    assert chat.prompt.input_value() == "first\nsecond" and chat.answers.count() == 0
    keyboard.press("Control+,")
    assert chat.focused() == "system"
    keyboard.type("Be brief")
    keyboard.press("Escape")
    assert not chat.page.locator("#settings").is_visible() and chat.focused() == "prompt"
    keyboard.press("Enter")
    chat.answer.and_(chat.page.locator(".ended")).wait_for()
    assert "first second" in " ".join(chat.prose.inner_text().split())
    keyboard.press("ArrowUp")
    assert chat.prompt.input_value() == "first\nsecond"
    keyboard.press("Control+a")
    keyboard.type(ENDLESS)
    keyboard.press("Enter")
    chat.answers.nth(1).locator(".prose > *").first.wait_for()
    keyboard.press("Escape")
    chat.answers.nth(1).and_(chat.page.locator(".ended")).wait_for()
    keyboard.press("Control+.")
    assert chat.focused() == "model"
    keyboard.press("Escape")
    assert chat.focused() == "prompt"
    keyboard.press("Control+/")
    assert chat.page.get_by_role("dialog", name="Keyboard shortcuts").is_visible()
    keyboard.press("Escape")
    keyboard.press("Control+k")
    assert chat.answers.count() == 0 and chat.focused() == "prompt"


def test_the_focus_goes_in_the_order_that_is_seen(chat: ChatPage) -> None:
    chat.ask("hello")
    chat.page.evaluate("document.activeElement.blur()")
    chat.page.evaluate("document.body.focus()")
    seen = []
    # the first of them begins at the top of the page
    chat.page.locator(".skip").focus()
    for _ in range(9):
        seen.append(chat.page.evaluate("document.activeElement.id || document.activeElement.textContent"))
        chat.page.keyboard.press("Tab")
    assert seen == [
        *("Go to the message", "model", "new", "open-settings", "theme", "open-shortcuts"),
        *("scroller", "Copy", "prompt"),
    ]


def test_every_shortcut_is_listed(chat: ChatPage) -> None:
    listed = chat.page.locator("#shortcuts dt").all_text_contents()
    assert listed == [
        *("Enter", "Shift Enter", "Esc", "↑", "Ctrl K", "Ctrl .", "Ctrl ,", "Ctrl /"),
    ]


def test_an_answer_is_read_in_blocks(chat: ChatPage) -> None:
    log = chat.page.get_by_role("log")
    assert log.get_attribute("aria-live") == "polite"
    chat.ask("one\n\ntwo\n\n```py\nx\n```\n\nthree")
    told = log.locator("p").all_text_contents()
    assert len(told) == chat.prose.locator("> *").count()
    assert [told[1], told[2]] == ["two", "A block of code."]
    assert chat.page.get_by_role("status").text_content() == "Answered"


def test_a_refusal_is_told(chat: ChatPage) -> None:
    chat.ask(f"Say {OFFENCE}")
    error = chat.answer.locator(".error p").inner_text()
    assert chat.page.get_by_role("status").text_content() == error


def test_a_message_that_is_being_composed_is_not_sent(chat: ChatPage) -> None:
    chat.prompt.fill("日本")
    chat.prompt.evaluate(
        "box => box.dispatchEvent(new KeyboardEvent('keydown',"
        " { key: 'Enter', isComposing: true, bubbles: true, cancelable: true }))"
    )
    assert chat.answers.count() == 0 and chat.prompt.input_value() == "日本"


def test_the_theme_is_the_systems_until_one_is_chosen(echo: Gateway, opened: Callable[..., ChatPage]) -> None:
    chat = opened(echo, color_scheme="dark").visit()
    assert luminance(chat.colour("html")) < 0.05
    chat.page.emulate_media(color_scheme="light")
    assert luminance(chat.colour("html")) > 0.8
    switch = chat.button("Dark")
    # styles follow at once, the button with the event that tells scripts of it
    switch.and_(chat.page.locator("[aria-pressed=false]")).wait_for()
    switch.click()
    switch.and_(chat.page.locator("[aria-pressed=true]")).wait_for()
    assert luminance(chat.colour("html")) < 0.05
    chat.page.reload()
    assert luminance(chat.colour("html")) < 0.05


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("front", "back"),
    [
        ("--text", "--page"),
        ("--faint", "--page"),
        ("--faint", "--raised"),
        ("--faint", "--sunken"),
        ("--text", "--tint"),
        ("--accent", "--page"),
        ("--on-accent", "--accent"),
        ("--alarm", "--page"),
        ("--alarm", "--alarm-tint"),
    ],
)
def test_contrast_is_at_least_four_and_a_half(
    scheme: str, front: str, back: str, browser: Any, colours: Callable[[str, str], list[int]]
) -> None:
    one, two = sorted((luminance(colours(scheme, name)) for name in (front, back)), reverse=True)
    assert (one + 0.05) / (two + 0.05) >= 4.5


@pytest.fixture(scope="module")
def colours(browser: Any, echo: Gateway) -> Callable[[str, str], list[int]]:
    """Return a colour of the page: `colours("dark", "--text")`."""
    pages = {}
    for scheme in ("light", "dark"):
        page = browser.new_context(color_scheme=scheme).new_page()
        page.goto(f"http://{echo.address}/")
        pages[scheme] = ChatPage(page, "")

    def find(scheme: str, name: str) -> list[int]:
        pages[scheme].page.evaluate(f"document.querySelector('#notice').style.color = 'var({name})'")
        return pages[scheme].colour("#notice", "color")

    return find


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["narrow", "wide"])
def test_nothing_is_cut_off(size: dict[str, int], echo: Gateway, opened: Callable[..., ChatPage]) -> None:
    chat = opened(echo, viewport=size).visit()
    chat.ask("a" * 200 + "\n\n```\n" + "b" * 100 + "\n```\n")
    assert chat.page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    assert chat.page.evaluate("document.querySelector('#scroller').scrollWidth") <= size["width"]
    for name in ("New chat", "Settings", "Dark", "Keyboard shortcuts", "Send"):
        box = chat.button(name).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= size["width"]
        assert min(box["width"], box["height"]) >= 24


def test_settings_are_beside_the_chat_where_there_is_room(
    echo: Gateway, opened: Callable[..., ChatPage]
) -> None:
    wide = opened(echo, viewport=WIDE).visit()
    wide.button("Settings").click()
    beside = wide.page.locator("#settings").bounding_box()
    assert wide.page.locator("main").bounding_box()["width"] + beside["width"] == WIDE["width"]
    wide.ask("hello")
    narrow = opened(echo, viewport=NARROW).visit()
    narrow.button("Settings").click()
    assert narrow.page.locator("main").bounding_box()["width"] == NARROW["width"]
    assert narrow.page.locator("#settings:modal").count() == 1


def test_the_reader_who_goes_up_is_left_there(slow: Gateway, opened: Callable[..., ChatPage]) -> None:
    chat = opened(slow, viewport=NARROW).visit()
    scroller = chat.page.locator("#scroller")
    chat.start("\n\n".join("hello" for _ in range(40)) + ENDLESS)
    # following: the end is in sight while it grows
    chat.page.wait_for_function(
        "one => one.scrollHeight > 2 * one.clientHeight", arg=scroller.element_handle()
    )
    scroller.hover()
    chat.page.mouse.wheel(0, -5000)
    chat.button("Latest").wait_for()
    assert scroller.evaluate("one => one.scrollTop") == 0
    chat.button("Latest").click()
    chat.button("Latest").wait_for(state="hidden")
    assert scroller.evaluate("one => one.scrollHeight - one.scrollTop - one.clientHeight") < 60
    chat.page.keyboard.press("Escape")


def test_the_name_of_the_model_is_the_answers_heading(chat: ChatPage) -> None:
    chat.ask("hello")
    headings = chat.page.locator("#messages h2").all_text_contents()
    assert headings == ["You", NAME]

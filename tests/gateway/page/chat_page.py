"""The chat page as somebody uses it."""

from __future__ import annotations

from typing import Any

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
# what a browser says of each answer that is not 200: the page says why itself
EXPECTED = "Failed to load resource"


class ChatPage:
    """A tab: what is on it by role and name; `complaints` is what went wrong in it."""

    def __init__(self, page: Any, address: str) -> None:
        self.page = page
        self.address = address
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._hear)

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning") and EXPECTED not in message.text:
            self.complaints.append(message.text)

    def visit(self) -> ChatPage:
        """Open it and wait for its models."""
        self.page.goto(self.address)
        self.model.and_(self.page.locator(":enabled")).wait_for()
        return self

    @property
    def model(self) -> Any:
        return self.page.get_by_role("combobox", name="Model")

    @property
    def prompt(self) -> Any:
        return self.page.get_by_role("textbox", name="Message", exact=True)

    @property
    def answers(self) -> Any:
        return self.page.locator("article.answer")

    @property
    def answer(self) -> Any:
        return self.answers.last

    @property
    def prose(self) -> Any:
        return self.answer.locator(".prose")

    def button(self, name: str) -> Any:
        return self.page.get_by_role("button", name=name, exact=True)

    def ask(self, text: str) -> None:
        """Send a message and wait for the end of its answer."""
        before = self.answers.count()
        self.prompt.fill(text)
        self.prompt.press("Enter")
        self.answers.nth(before).and_(self.page.locator(".ended")).wait_for()

    def start(self, text: str) -> None:
        """Send a message and wait until its answer has begun."""
        before = self.answers.count()
        self.prompt.fill(text)
        self.prompt.press("Enter")
        self.answers.nth(before).locator(".prose > *").first.wait_for()

    def focused(self) -> str:
        """Return the id of what has the focus."""
        return str(self.page.evaluate("document.activeElement.id"))

    def colour(self, selector: str, name: str = "background-color") -> list[int]:
        """Return red, green and blue of what is shown, 0 to 255."""
        script = "([selector, name]) => getComputedStyle(document.querySelector(selector))[name]"
        told = self.page.evaluate(script, [selector, name])
        return [int(part) for part in told[told.index("(") + 1 : -1].split(",")[:3]]

"""Answer message after message, and obey the commands among them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol

from builder.chat import Answer, Conversation, Refused
from builder.chatting.interrupts import Interrupts

COMMANDS = {
    "/reset": "forget the conversation; the system prompt stays",
    "/system TEXT": "set the system prompt from the next message on; without TEXT there is none",
    "/help": "list this",
    "/quit": "leave, as Ctrl-D does",
}
# A path such as /etc/hosts is no command.
_COMMAND = re.compile(r"(/\w*)(?:\s+(.*))?", re.DOTALL)


class Screen(Protocol):
    """Where a conversation is shown."""

    def hear(self, text: str, reasoning: str) -> None:
        """Show the next piece of an answer."""

    def end(self, answer: Answer, most: int | None) -> None:
        """Show that the answer has ended; `most` is the most tokens it could have."""

    def break_off(self) -> None:
        """Leave the line on which an answer was streaming."""

    def refuse(self, error: Refused) -> None:
        """Show why there is no answer."""

    def say(self, text: str) -> None:
        """Show a word of the program itself."""


def talk(conversation: Conversation, messages: Iterable[str], screen: Screen) -> bool:
    """Answer until there are no more messages; return whether the server refused none."""
    refused = False
    for message in messages:
        command = _COMMAND.fullmatch(message)
        if command is None:
            refused |= not answered(conversation, message, screen)
        elif command[1] == "/quit":
            break
        else:
            refused |= not _obey(conversation, command[1], (command[2] or "").strip(), screen)
    return not refused


def answered(conversation: Conversation, message: str, screen: Screen) -> bool:
    """Ask one thing; Ctrl-C stops the answer. Return whether the server took it."""
    try:
        with Interrupts() as interrupts:
            answer = conversation.ask(message, screen.hear, interrupts)
    except Refused as error:
        screen.refuse(error)
        return False
    except BaseException:
        screen.break_off()
        raise
    screen.end(answer, conversation.settings.max_tokens)
    return True


def _obey(conversation: Conversation, command: str, argument: str, screen: Screen) -> bool:
    if command == "/reset":
        conversation.reset()
        screen.say("the conversation begins anew")
    elif command == "/system":
        conversation.system = argument
        screen.say("the system prompt is set" if argument else "there is no system prompt now")
    elif command == "/help":
        width = max(map(len, COMMANDS))
        screen.say("\n".join(f"{name:{width}}  {what}" for name, what in COMMANDS.items()))
    else:
        screen.refuse(Refused(f"{command} is no command", remedy="/help lists them"))
        return False
    return True

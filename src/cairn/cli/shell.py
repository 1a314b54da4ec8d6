"""``cairn shell``: commands without typing ``cairn``, with history and completion."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cairn.cli import output
from cairn.cli.completion import Completer
from cairn.cli.completion_cache import CompletionCache, cache_dir
from cairn.cli.completion_scripts import commands, split
from cairn.cli.context import Context, pass_context
from cairn.cli.session import config_dir

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import Completer as PromptCompleter

_LEAVING = ("exit", "quit")
_SECRET = ("password=", "privateKey=")
_HELLO = "Type a command, TAB to complete, help for help, exit to leave."


@click.command("shell")
@pass_context
def shell(context: Context) -> None:
    """An interactive shell with history and completion."""
    session = _session(context)
    output.say(f"cairn at {context.client.url}. {_HELLO}")
    while True:
        try:
            line = session.prompt("cairn> ")
        except KeyboardInterrupt:
            continue
        except EOFError:
            break
        words = words_of(line)
        if words is None:
            output.say("A quote is not closed.")
        elif words and words[0] in _LEAVING:
            break
        elif words:
            run_line(context, words)


def words_of(line: str) -> list[str] | None:
    """The words of a line, without a ``cairn`` that people type out of habit; None when a quote is open."""
    try:
        words = shlex.split(line)
    except ValueError:
        return None
    return words[1:] if words[:1] == ["cairn"] else words


def run_line(context: Context, words: list[str]) -> int:
    """Run one command line as if it were typed behind ``cairn``, at the node and data folder of the shell."""
    from cairn.cli.main import run

    fixed = ["--url", context.url, "--data-dir", str(context.data_dir)]
    try:
        return run([*fixed, *words])
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1


def keeps(line: str) -> bool:
    """Whether a line may be written into the history file: not with secrets in it."""
    return not any(secret in line for secret in _SECRET)


def _session(context: Context) -> PromptSession[str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
    from prompt_toolkit.history import FileHistory, History, InMemoryHistory

    class Discreet(FileHistory):
        """A history that forgets lines with secrets."""

        def store_string(self, string: str) -> None:
            if keeps(string):
                super().store_string(string)

    history: History = InMemoryHistory()
    path = _history_file(config_dir(context.environment))
    if path is not None:
        history = Discreet(str(path))
    return PromptSession(
        history=history,
        completer=_completer(context),
        auto_suggest=AutoSuggestFromHistory(),
        complete_in_thread=True,
        complete_while_typing=False,
    )


def _history_file(folder: Path) -> Path | None:
    path = folder / "history"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError as error:
        output.say(f"The history is not kept: {error.strerror} ({path}).")
        return None
    return path


def _completer(context: Context) -> PromptCompleter:
    from prompt_toolkit.completion import CompleteEvent, Completion
    from prompt_toolkit.completion import Completer as PromptCompleter
    from prompt_toolkit.document import Document

    known = CompletionCache(context.client, cache_dir(context.environment))

    class Adapter(PromptCompleter):
        """Offers what `Completer` finds in the shape that prompt_toolkit expects."""

        def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
            words = split(document.text_before_cursor)
            words = words[1:] if words[:1] == ["cairn"] and len(words) > 1 else words
            candidates = Completer(commands(), known.schema(), known.resources).complete(words)
            for candidate in candidates:
                text = candidate.text + (" " if candidate.is_final else "")
                yield Completion(
                    text,
                    start_position=-len(words[-1]),
                    display=candidate.text,
                    display_meta=candidate.about,
                )

    return Adapter()

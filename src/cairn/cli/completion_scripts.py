"""``cairn completion bash|zsh|fish``, and the command behind the scripts that it prints."""

from __future__ import annotations

import re
from typing import Final

import click

from cairn.cli.completion import Candidate, Completer
from cairn.cli.completion_cache import CompletionCache, cache_dir
from cairn.cli.context import Context, pass_context

# Bash takes words apart at "=" and ":"; only the part behind the last of them may be answered.
_BASH: Final = """\
_cairn_complete() {
    local line="${COMP_LINE:0:COMP_POINT}" text
    local word="${line##*[[:space:]]}"
    local cut="${word%"${word##*[=:]}"}"
    COMPREPLY=()
    while IFS= read -r text; do
        COMPREPLY+=("${text#"$cut"}")
    done < <(cairn __complete bash -- "$line" 2>/dev/null)
    [[ ${COMPREPLY[0]-} == *[=.,\\<\\>] ]] && compopt -o nospace
}
complete -o nosort -F _cairn_complete cairn
"""
_ZSH: Final = """\
#compdef cairn
_cairn() {
    local -a texts
    texts=("${(@f)$(cairn __complete zsh -- "${(j: :)words[1,CURRENT]}" 2>/dev/null)}")
    [[ -n "$texts" ]] || return 1
    compadd -Q -S '' -- $texts
}
compdef _cairn cairn
"""
_FISH: Final = """\
complete -c cairn -f -a '(cairn __complete fish -- (commandline -cp) 2>/dev/null)'
"""
_SCRIPTS: Final = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
_HOW: Final = """\
Print the script that makes a shell complete cairn's commands, APIs, parameters, fields and names.

\b
bash:  source <(cairn completion bash)
zsh:   source <(cairn completion zsh)
fish:  cairn completion fish | source
"""


@click.command("completion", help=_HOW)
@click.argument("shell", type=click.Choice(sorted(_SCRIPTS)))
def completion(shell: str) -> None:
    """Print the script that completes commands in a shell."""
    click.echo(_SCRIPTS[shell], nl=False)


@click.command("__complete", hidden=True)
@click.argument("shell", type=click.Choice(sorted(_SCRIPTS)))
@click.argument("line")
@pass_context
def complete(context: Context, shell: str, line: str) -> None:
    """Print the candidates for the end of LINE, one a line."""
    for candidate in completer(context).complete(split(line)[1:] or [""]):
        click.echo(_shown(candidate, shell))


def completer(context: Context) -> Completer:
    """A completer that knows the node."""
    known = CompletionCache(context.client, cache_dir(context.environment))
    return Completer(commands(), known.schema(), known.resources)


def commands() -> dict[str, str]:
    """All commands with what each does; those of groups as ``lab up``.."""
    from cairn.cli.main import COMMANDS

    found = {name: about for section in COMMANDS.values() for name, (_, about) in section.items()}
    return {**found, **_INSIDE}


def split(line: str) -> list[str]:
    """The words of a line that may end in the middle of one; quotes are taken away, even open ones."""
    words = [re.sub(r"[\"']", "", word) for word in re.findall(r"(?:[^\s\"']|\"[^\"]*\"?|'[^']*'?)+", line)]
    return [*words, ""] if not line or line[-1].isspace() else words


def _shown(candidate: Candidate, shell: str) -> str:
    if shell == "fish" and candidate.about:
        return f"{candidate.text}\t{candidate.about}"
    # Nothing is put behind a word of zsh, since some go on; so a space stands where one does not.
    return f"{candidate.text} " if shell == "zsh" and candidate.is_final else candidate.text


#: Subcommands of groups, named here so that completing a line imports none of them; a test holds them true.
_INSIDE: Final[dict[str, str]] = {
    "lab up": "Make sure that the lab exists and its hosts run.",
    "lab down": "Take away all of the lab.",
    "lab kill": "Cut the power of a host.",
    "lab cut": "Pull the network cable of a host.",
    "lab mend": "Plug the cable in again, and boot the host.",
    "lab status": "Show the hosts.",
    "lab exec": "Run a command inside a host.",
    "lab probe": "Try everything that a lab needs.",
    "workflow list": "List all workflows.",
    "workflow show": "Print the effective list of a workflow.",
    "node list": "List the nodes.",
    "node drain": "Have a node end what it has, and get nothing new.",
    "node resume": "Have a drained node take part again.",
    "node remove": "Forget a node that is dead.",
    "db upgrade": "Bring the database up to date.",
    "db check": "Look the database through.",
    "db dump": "Write all of the database into a file.",
    "db restore": "Fill the database from a dump.",
    "secrets rotate": "Make a new key that secrets are sealed with.",
    "wheels build": "Fill a folder with wheels.",
    "bench populate": "Fill the database of a node that does not run.",
    "bench query": "Ask all kinds of queries, and say how long each takes.",
    "bench vm": "Create VMs and say how long that takes.",
    "bench hosts": "Add hosts and say how long that takes.",
    "bench mixed": "Do a bit of everything for a while.",
    "bench ping": "Measure what watching the hosts takes.",
    "bench restart": "Kill a node amid calls, start it, and check the books.",
    "bench failover": "Kill one of several nodes amid calls, and check the books.",
    "migrations revision": "Write a migration.",
    "plugin reference": "Print what a plugin brings.",
    "plugin purge": "Show or remove what a plugin has left in the database.",
}

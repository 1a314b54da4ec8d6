"""Writes docs/errors.md: every code of an error that the sources raise, with its sentence and where it is raised.

python tools/list_errors.py            writes it
python tools/list_errors.py --check    says whether it is as it should be, by its exit code
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from msgspec import Struct

from cairn.bootstrap import load_plugins
from cairn.kernel.api import ApiDelete
from cairn.kernel.settings import load
from cairn.kernel.store.record import Named, info

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "cairn"
TARGET = ROOT / "docs" / "errors.md"
AGENT_CODES = SOURCE / "agents" / "protocol" / "codes.py"

_CODE = re.compile(r"[a-z][a-z0-9-]*\.[a-z][a-z0-9-]*")
_MOST = 160
_HEAD = """\
# Errors

This page is made by `python tools/list_errors.py` from the sources; a test holds it fresh.

The code is the contract: it stays, and programs may act on it; the sentence may improve. An error's kind gives its HTTP status.
… stands for what differs from case to case. [Faults](faults.md) tells what leads to the common ones.
"""


class Raised(Struct, frozen=True, order=True):
    """One place that makes an error."""

    code: str
    sentence: str
    path: str


def collect() -> list[Raised]:
    """Every code, once, with the first place that makes it."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(SOURCE.rglob("*.py"))}
    makers = {"CairnError"} | {name for tree in trees.values() for name in _makers(tree)}
    found: dict[str, Raised] = {}
    for path, tree in trees.items():
        for one in (*_raised(tree, makers), *_named(path, tree)):
            known = found.get(one[0])
            if known is None or not known.sentence:
                found[one[0]] = Raised(code=one[0], sentence=one[1], path=str(path.relative_to(ROOT)))
    for code, sentence in _of_resources():
        found.setdefault(code, Raised(code=code, sentence=sentence, path="src/cairn/kernel/resource.py"))
    return sorted(found.values())


def _of_resources() -> Iterator[tuple[str, str]]:
    """What every resource can be refused with: its record gives the noun."""
    loaded = load_plugins(load({}))
    deleted = {api.entity for api in loaded.api if issubclass(api, ApiDelete)}
    for record in loaded.records:
        if issubclass(record, Named):
            here = info(record)
            yield f"{here.noun}.not-found", f"uuid: there is no {here.title} …. Query for the right uuid."
            if here.meta.entity in deleted:
                yield f"{here.noun}.in-use", f"… are in the {here.title} …: delete them first."


def page(codes: Iterable[Raised]) -> str:
    """The page."""
    lines = [_HEAD]
    for noun, group in groupby(codes, lambda one: one.code.partition(".")[0]):
        lines.append(f"## {noun}\n\n| code | it says | from |\n|---|---|---|")
        lines += [f"| {one.code} | {_cell(one.sentence)} | `{one.path}` |" for one in group]
        lines.append("")
    return "\n".join(lines)


def _makers(tree: ast.Module) -> Iterator[str]:
    """Functions that give an error."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and isinstance(node.returns, ast.Name) and node.returns.id == "CairnError":
            yield node.name


def _raised(tree: ast.Module, makers: set[str]) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or _name(node.func) not in makers or not node.args:
            continue
        first = _text(node.args[0])
        if _name(node.func) == "not_found" and first != "…":
            yield f"{first}.not-found", "…: there is no … Query for the right uuid; it may have been deleted."
        elif _name(node.func) == "invalid" and _CODE.fullmatch(first):
            field, fits = (_text(node.args[place]) if len(node.args) > place else "…" for place in (1, 3))
            yield first, f"{field}: found …; {fits}."
        elif _CODE.fullmatch(first):
            yield first, _text(node.args[1]) if len(node.args) > 1 else ""


def _named(path: Path, tree: ast.Module) -> Iterator[tuple[str, str]]:
    """What agents answer: a constant each, with its meaning below it."""
    if path != AGENT_CODES:
        return
    for node, after in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(node, ast.AnnAssign) and isinstance(after, ast.Expr):
            code = _text(node.value) if node.value is not None else ""
            if _CODE.fullmatch(code):
                yield code, _text(after.value)


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""


def _text(node: ast.expr) -> str:
    """What a text says, with … where it differs."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return "…"


def _cell(sentence: str) -> str:
    text = " ".join(sentence.split()).replace("|", "\\|").replace("`", "'")
    return text if len(text) <= _MOST else text[:_MOST].rpartition(" ")[0] + " …"


def main(arguments: list[str]) -> int:
    """Write or check."""
    fresh = page(collect())
    if "--check" in arguments:
        return 0 if TARGET.read_text(encoding="utf-8") == fresh else 1
    TARGET.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

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
from msgspec.structs import replace

from cairn.bootstrap import load_plugins
from cairn.gateway.problem import STATUS
from cairn.kernel.api import ApiDelete
from cairn.kernel.error import ErrorKind
from cairn.kernel.machine.model import Machine
from cairn.kernel.settings import load
from cairn.kernel.store.record import Named, info
from cairn.kernel.store.schema import Schema

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "cairn"
TARGET = ROOT / "docs" / "errors.md"
MACHINES = SOURCE / "kernel" / "machine"
AGENT_CODES = SOURCE / "agents" / "protocol" / "codes.py"

_CODE = re.compile(r"[a-z][a-z0-9-]*\.[a-z][a-z0-9-]*")
_NOUN = "‹noun›"
#: a sentence of which nothing is known
_BLANK = re.compile(r"(?:‹[^›]*›|[\s:.])*")
_MOST = 400
_HEAD = """\
# Errors

This page is made by `python tools/list_errors.py` from the sources; a test holds it fresh.

The code is the contract: it stays, and programs may act on it; the sentence may improve. ‹words› stand for what differs
from case to case. The status is that of HTTP; it follows from who can act:

| status | kind | who can act, and how |
|---|---|---|
{kinds}

A job's error has the code of what failed. [Faults](faults.md) tells what leads to the common ones.
"""
_WHO = {
    ErrorKind.INVALID: "you: the input does not fit",
    ErrorKind.UNAUTHENTICATED: "you: log in",
    ErrorKind.FORBIDDEN: "your administrator: you may not do this",
    ErrorKind.NOT_FOUND: "you: what you name does not exist",
    ErrorKind.CONFLICT: "you: the state of things does not allow it now",
    ErrorKind.EXHAUSTED: "your administrator: a capacity, quota or limit is used up",
    ErrorKind.CANCELLED: "nobody has to: someone asked for the end",
    ErrorKind.INTERNAL: "cairn's authors: it is a bug",
    ErrorKind.UNAVAILABLE: "your administrator: something cannot be reached; it may work later",
    ErrorKind.TIMEOUT: "you: the deadline passed; look at what it waited for",
}


class Raised(Struct, frozen=True, order=True):
    """One place that makes an error."""

    code: str
    sentence: str
    path: str
    status: str = ""


def collect() -> list[Raised]:
    """Every code, once, with the first place that says most of it."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(SOURCE.rglob("*.py"))}
    makers = {"CairnError": ErrorKind.INVALID, "HttpError": ErrorKind.INVALID}
    for tree in trees.values():
        makers |= dict(_makers(tree))
    found: dict[str, Raised] = {}
    for path, tree in trees.items():
        for one in (*_raised(path, tree, makers), *_named(path, tree)):
            known = found.get(one.code)
            if known is None or _BLANK.fullmatch(known.sentence):
                found[one.code] = one
    for one in (*_of_machines(trees, makers), *_of_resources()):
        found[one.code] = one
    return sorted(found.values())


def _of_resources() -> Iterator[Raised]:
    """What every resource can be refused with: its record gives the noun."""
    loaded = load_plugins(load({}))
    deleted = {api.entity for api in loaded.api if issubclass(api, ApiDelete)}
    schema = Schema(loaded.records)
    path = "src/cairn/kernel/resource.py"
    for record in loaded.records:
        if not issubclass(record, Named):
            continue
        here = info(record)
        text = f"‹field›: there is no {here.title} ‹uuid›. Query for the right uuid; it may have been deleted."
        yield Raised(code=f"{here.noun}.not-found", sentence=text, path=path, status="404")
        kept = any(
            field.reference and field.reference.on_delete == "restrict" for _, field in schema.referring_to(here)
        )
        if kept and here.meta.entity in deleted and not issubclass(record, Machine):
            text = f"‹resources› are in the {here.title} ‹name›: delete them first."
            yield Raised(code=f"{here.noun}.in-use", sentence=text, path=path, status="409")


def _of_machines(trees: dict[Path, ast.Module], makers: dict[str, ErrorKind]) -> Iterator[Raised]:
    """What every kind of machine can be refused with: its record gives noun and title."""
    kinds = [info(record) for record in load_plugins(load({})).records if issubclass(record, Machine)]
    for path, tree in trees.items():
        if path.is_relative_to(MACHINES):
            for one in _raised(path, tree, makers, of_any=True):
                for kind in kinds:
                    code, sentence = one.code.replace(_NOUN, kind.noun), one.sentence.replace("‹title›", kind.title)
                    yield replace(one, code=code, sentence=sentence)


def page(codes: Iterable[Raised]) -> str:
    """The page."""
    kinds = sorted(ErrorKind, key=lambda kind: STATUS[kind])
    lines = [_HEAD.format(kinds="\n".join(f"| {STATUS[kind]} | {kind} | {_WHO[kind]} |" for kind in kinds))]
    for noun, group in groupby(codes, lambda one: one.code.partition(".")[0]):
        lines.append(f"## {noun}\n\n| code | status | it says | from |\n|---|---|---|---|")
        lines += [f"| {one.code} | {one.status} | {_cell(one.sentence)} | `{one.path}` |" for one in group]
        lines.append("")
    return "\n".join(lines)


def _makers(tree: ast.Module) -> Iterator[tuple[str, ErrorKind]]:
    """Functions that give an error, with the kind of those that they give."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and isinstance(node.returns, ast.Name) and node.returns.id == "CairnError":
            kinds = [kind for call in ast.walk(node) if isinstance(call, ast.Call) if (kind := _kind(call))]
            yield node.name, kinds[0] if kinds else ErrorKind.INVALID


def _raised(path: Path, tree: ast.Module, makers: dict[str, ErrorKind], *, of_any: bool = False) -> Iterator[Raised]:
    """The errors that a module makes; `of_any`: those as well whose code begins with the noun of whatever it is about."""
    for scope, node in _calls(tree):
        name = _name(node.func)
        if name not in makers or not node.args:
            continue
        words = [_text(argument, scope) for argument in node.args]
        code, sentence = words[0], words[1] if len(words) > 1 else ""
        if name == "not_found":
            code = f"{code}.not-found"
            title = words[0].replace("-", " ")
            sentence = f"‹field›: there is no {title} ‹uuid›. Query for the right uuid; it may have been deleted."
        if not (_CODE.fullmatch(code) or (of_any and code.startswith(_NOUN))):
            continue
        if name == "invalid":
            field, fits = (words[place] if len(words) > place else "…" for place in (1, 3))
            sentence = f"{field}: found ‹value›; {fits}. {words[4] if len(words) > 4 else ''}"
        if name == "wrong":
            sentence = f"condition ‹condition›, position ‹number›: found ‹text›; {words[4]}."
        status = _status(node) or str(STATUS[_kind(node) or makers[name]])
        yield Raised(code=code, sentence=sentence.strip(), path=str(path.relative_to(ROOT)), status=status)


def _calls(tree: ast.Module) -> Iterator[tuple[dict[str, list[ast.expr]], ast.Call]]:
    """Each call, with what was assigned to which name before it in its function."""
    for function in ast.walk(tree):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        scope: dict[str, list[ast.expr]] = {}
        for node in sorted(_own(function), key=lambda one: (one.lineno, one.col_offset)):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                scope[node.targets[0].id] = [node.value]
            elif isinstance(node, ast.Call):
                yield dict(scope), node


def _own(function: ast.AST) -> Iterator[ast.Assign | ast.Call]:
    for node in ast.iter_child_nodes(function):
        if isinstance(node, (ast.Assign, ast.Call)):
            yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _own(node)


def _kind(call: ast.Call) -> ErrorKind | None:
    for keyword in call.keywords:
        if keyword.arg == "kind" and isinstance(keyword.value, ast.Attribute):
            return ErrorKind[keyword.value.attr] if keyword.value.attr in ErrorKind.__members__ else None
    return None


def _status(call: ast.Call) -> str:
    """The status of an `HttpError`, which only HTTP knows."""
    found = [keyword.value for keyword in call.keywords if keyword.arg == "status"]
    return str(found[0].value) if found and isinstance(found[0], ast.Constant) else ""


def _named(path: Path, tree: ast.Module) -> Iterator[Raised]:
    """What agents answer: a constant each, with its meaning below it."""
    if path != AGENT_CODES:
        return
    for node, after in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(node, ast.AnnAssign) and isinstance(after, ast.Expr):
            code = _text(node.value, {}) if node.value is not None else ""
            if _CODE.fullmatch(code):
                yield Raised(code=code, sentence=_text(after.value, {}), path=str(path.relative_to(ROOT)))


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""


def _text(node: ast.expr, scope: dict[str, list[ast.expr]]) -> str:
    """What a text says, with ‹words› where it differs."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_text(part, scope) for part in parts)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text(left, scope) + _text(right, scope)
        case ast.IfExp(body=body):
            return _text(body, scope)
        case ast.Call(func=ast.Attribute(value=text, attr="strip")):
            return _text(text, scope)
        case ast.FormattedValue(value=value):
            return _text(value, scope) if _is_text(value) else f"‹{_word(value)}›"
        case ast.Name(id=name) if name in scope:
            return _text(scope[name][0], {key: value for key, value in scope.items() if key != name})
    return f"‹{_word(node)}›"


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, (ast.Constant, ast.JoinedStr))


def _word(node: ast.expr) -> str:
    """What an expression is about, in a word or two."""
    match node:
        case ast.Name(id=name):
            return name.strip("_").replace("_", " ")
        case ast.Attribute(value=ast.Name(id=whose), attr="name" | "value") if whose != "self":
            return f"{_word(ast.Name(id=whose))}"
        case ast.Attribute(value=value, attr="value" | "__name__"):
            return _word(value)
        case ast.Attribute(attr=name):
            return name.strip("_").replace("_", " ")
        case ast.Subscript(value=value) | ast.Await(value=value):
            return _word(value)
        case ast.Call(func=ast.Name(id="len" | "type" | "str" | "sorted"), args=[value, *_]):
            return _word(value)
        case ast.Call(func=ast.Attribute(attr="join"), args=[value, *_]):
            return _word(value)
        case ast.Call(func=ast.Attribute(value=value)):
            return _word(value)
        case ast.Call(func=func):
            return _word(func)
        case ast.GeneratorExp(elt=value) | ast.ListComp(elt=value):
            return _word(value)
        case ast.BoolOp(values=[value, *_]) | ast.BinOp(left=value) | ast.IfExp(body=value):
            return _word(value)
        case ast.FormattedValue(value=value):
            return _word(value)
        case ast.JoinedStr(values=values):
            return next((_word(value) for value in values if isinstance(value, ast.FormattedValue)), "text")
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

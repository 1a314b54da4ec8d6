"""Reads the descriptions of a class's fields from its source: ``#:`` behind a field, or in the lines above it."""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache


def field_docs(cls: type) -> dict[str, str]:
    """Field -> sentence, for the class and all that it inherits from; fields without one are not in it."""
    docs: dict[str, str] = {}
    for ancestor in reversed(cls.__mro__):
        docs |= _module_docs(ancestor.__module__).get(ancestor.__name__, {})
    return docs


def class_doc(cls: type) -> str:
    """The class's own docstring, without its indentation; empty when it has none."""
    return inspect.cleandoc(cls.__doc__ or "")


@cache
def _module_docs(module: str) -> dict[str, dict[str, str]]:
    """Class -> field -> sentence, for one module; nothing where there is no source."""
    try:
        source = inspect.getsource(sys.modules[module])
    except (OSError, TypeError, KeyError):
        return {}
    lines = source.splitlines()
    return {
        node.name: {
            statement.target.id: text
            for statement in node.body
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
            if (text := _comment(lines, statement))
        }
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef)
    }


def _comment(lines: list[str], statement: ast.AnnAssign) -> str:
    last = (statement.end_lineno or statement.lineno) - 1
    behind = lines[last].encode()[statement.end_col_offset or 0 :].decode()
    _, mark, text = behind.partition("#:")
    if mark:
        return text.strip()
    above: list[str] = []
    at = statement.lineno - 2
    while at >= 0 and lines[at].strip().startswith("#:"):
        above.insert(0, lines[at].strip().removeprefix("#:").strip())
        at -= 1
    return " ".join(above)

"""Finds the endpoint for a verb and a path, in a tree of path segments.

Variables match one segment, whatever their names; a fixed segment wins over a variable; empty segments do not count.
"""

from __future__ import annotations

from difflib import get_close_matches

from cairn.gateway.http import Endpoint
from cairn.gateway.problem import HttpError
from cairn.kernel.error import ErrorKind


class _Node:
    __slots__ = ("fixed", "path", "variable", "verbs")

    def __init__(self) -> None:
        self.fixed: dict[str, _Node] = {}
        self.variable: _Node | None = None
        self.verbs: dict[str, Endpoint] = {}
        self.path = ""


class Router:
    """All endpoints, by path and verb."""

    def __init__(self) -> None:
        self._root = _Node()
        self._paths: list[str] = []

    def add(self, verb: str, path: str, endpoint: Endpoint) -> None:
        """Serve `verb` on `path` (``/zones/{uuid}``); giving a verb and path twice is a programming mistake."""
        node = self._root
        for segment in _segments(path):
            if segment.startswith("{"):
                node.variable = node.variable or _Node()
                node = node.variable
            else:
                node = node.fixed.setdefault(segment, _Node())
        if verb in node.verbs:
            raise TypeError(f"{verb} {path} is served twice (as {node.path}, too); change one of the paths")
        if not node.verbs:
            node.path = path
            self._paths.append(path)
        node.verbs[verb] = endpoint

    def has(self, verb: str, path: str) -> bool:
        """Whether exactly this shape of path is served with `verb`; names of variables do not count."""
        node: _Node | None = self._root
        for segment in _segments(path):
            if node is None:
                return False
            node = node.variable if segment.startswith("{") else node.fixed.get(segment)
        return node is not None and verb in node.verbs

    def find(self, verb: str, path: str) -> tuple[Endpoint, tuple[str, ...]]:
        """The endpoint for a request, and the values of the path's variables in their order.

        Raises:
            CairnError: ``api.unknown-path`` (404) naming the nearest paths, ``api.wrong-verb`` (405) naming the verbs.
        """
        segments = _segments(path)
        found = _match(self._root, segments, 0, ())
        if found is None:
            raise self._unknown(path)
        node, values = found
        endpoint = node.verbs.get(verb)
        if endpoint is None and verb == "HEAD":
            endpoint = node.verbs.get("GET")
        if endpoint is None:
            allowed = ", ".join(sorted(node.verbs))
            raise HttpError(
                "api.wrong-verb",
                f"{path} does not know {verb}; it knows {allowed}.",
                status=405,
                headers={"Allow": allowed},
                details={"allowed": sorted(node.verbs)},
            )
        return endpoint, values

    def _unknown(self, path: str) -> HttpError:
        shapes = {_shape(known, path): known for known in self._paths}
        near = [shapes[shape] for shape in get_close_matches(path[:200], shapes, n=3, cutoff=0.6)]
        hint = f" Did you mean {' or '.join(near)}?" if near else " GET /v1/schema lists all paths."
        return HttpError(
            "api.unknown-path",
            f"There is nothing at {path[:200]}.{hint}",
            status=404,
            kind=ErrorKind.NOT_FOUND,
            details={"nearest": list(near)},
        )


def _match(node: _Node, segments: list[str], at: int, values: tuple[str, ...]) -> tuple[_Node, tuple[str, ...]] | None:
    if at == len(segments):
        return (node, values) if node.verbs else None
    segment = segments[at]
    fixed = node.fixed.get(segment)
    if fixed is not None:
        found = _match(fixed, segments, at + 1, values)
        if found is not None:
            return found
    if node.variable is None:
        return None
    return _match(node.variable, segments, at + 1, (*values, segment))


def _segments(path: str) -> list[str]:
    return [segment for segment in path.split("/") if segment]


def _shape(known: str, asked: str) -> str:
    """`known` with the asked path's segments in place of its variables, so that only fixed segments tell them apart."""
    given = _segments(asked)
    parts = [
        given[place] if part.startswith("{") and place < len(given) else part
        for place, part in enumerate(_segments(known))
    ]
    return "/" + "/".join(parts)

"""Pages about plugins, made of the declarations: what there is for authors, and what one plugin brings."""

from __future__ import annotations

import ast
import inspect
import re
import typing
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path

from cairn.gateway.docs import class_doc, field_docs
from cairn.kernel.bus.message import Event, message_types, tag_of
from cairn.kernel.config import show
from cairn.kernel.flow.workflow import EffectiveWorkflow, WorkflowBook, types_of
from cairn.kernel.plugin.context import NodeContext
from cairn.kernel.plugin.manifest import Loaded, Manifest

_CODE = re.compile(r"[a-z][a-z0-9-]*\.[a-z][a-z0-9-]*")
_MAKERS = frozenset({"CairnError", "invalid", "HttpError"})
#: parts of the node context that are for those who put a node together
_NOT_FOR_PLUGINS = frozenset({"guards", "steps", "subscribers", "troubles", "flow_probe"})


# -- for authors ---------------------------------------------------------------------------------------------------------------


def authors_page(loaded: Loaded, book: WorkflowBook) -> str:
    """All that a plugin may use: the node context, extension points, events, workflows with their fields."""
    parts = [
        "# Reference for authors of plugins",
        "This page is made by `python tools/list_plugin_points.py` from the declarations; a test holds it fresh. How to use "
        "them is in [plugins.md](../plugins.md).",
        "## What a node hands to `build`",
        *_context(),
        "## Extension points",
        "The moment at which each method is called, and whether it may refuse, is in its docstring.",
        *_points(loaded),
        "## Events",
        '`node.events.subscribe("audit.crashes", {"vm.crashed"}, notes.crashed, durable=True)`. A row that is told has '
        "`sequence`, `name`, `resource_uuid`, `job_uuid`, `account_uuid`, `create_date`, and in `content` these fields:",
        *_events(loaded),
        "## Workflows",
        "Each step with the fields that it gives to those behind it. All begin with `uuid`, `account` and `asked`. A step of a "
        "plugin that stands behind another may ask for what is there by then.",
        *(_workflow(book.effective(name)) for name in book.names()),
    ]
    return "\n\n".join(parts) + "\n"


def _context() -> Iterator[str]:
    hints = {one.name: str(one.type) for one in fields(NodeContext) if not one.name.startswith("_")}
    told = dict(re.findall(r"^    (\w+): (.+)$", inspect.cleandoc(NodeContext.__doc__ or ""), re.MULTILINE))
    rows = [
        f"| `node.{name}` | `{_cell(kind)}` | {told.get(name) or _first(_class_named(kind))} |"
        for name, kind in hints.items()
        if name not in _NOT_FOR_PLUGINS
    ]
    yield "\n".join(["| part | type | it is |", "|---|---|---|", *rows])
    methods = ("provide", "need", "lazy_flows")
    yield "\n".join(
        [
            "| call | effect |",
            "|---|---|",
            *(f"| `node.{name}` | {_first(getattr(NodeContext, name))} |" for name in methods),
        ]
    )


def _class_named(kind: str) -> type | None:
    found = vars(inspect.getmodule(NodeContext)).get(kind)
    return found if isinstance(found, type) else None


def _points(loaded: Loaded) -> Iterator[str]:
    for module, kinds in _protocols(loaded).items():
        yield f"### `{module}`"
        for kind in kinds:
            yield f"**`{kind.__name__}`**: {_text(class_doc(kind))}"
            methods = [(name, found) for name, found in vars(kind).items() if _is_method(name, found)]
            if methods:
                rows = [f"| `{_signature(name, found)}` | {_text(found.__doc__ or '')} |" for name, found in methods]
                yield "\n".join(["| method | when, and what for |", "|---|---|", *rows])


def _protocols(loaded: Loaded) -> dict[str, list[type]]:
    modules = ["cairn.kernel.extensions", *(f"{one.package}.extensions" for one in loaded.manifests)]
    found: dict[str, list[type]] = {}
    for name in dict.fromkeys(modules):
        module = _module(name)
        kinds = [
            kind
            for kind in (vars(module).values() if module is not None else ())
            if isinstance(kind, type) and kind.__module__ == name and getattr(kind, "_is_protocol", False)
        ]
        if kinds:
            found[name] = kinds
    return found


def _module(name: str) -> object | None:
    import importlib
    import importlib.util

    return importlib.import_module(name) if importlib.util.find_spec(name) is not None else None


def _is_method(name: str, found: object) -> bool:
    return inspect.isfunction(found) and not name.startswith("_")


def _signature(name: str, method: object) -> str:
    assert callable(method)
    names = ", ".join(list(inspect.signature(method).parameters)[1:])
    return f"{'await ' if inspect.iscoroutinefunction(method) else ''}{name}({names})"


def _events(loaded: Loaded) -> Iterator[str]:
    packages = tuple(f"{one.package}." for one in loaded.manifests)
    rows = []
    for tag, kind in sorted(message_types().items()):
        if not issubclass(kind, Event) or not f"{kind.__module__}.".startswith(packages):
            continue
        docs = field_docs(kind)
        told = ", ".join(f"`{name}`{f' ({docs[name]})' if name in docs else ''}" for name in kind.__struct_fields__)
        rows.append(f"| `{tag}` | {_text(class_doc(kind))} | {told or 'none'} |")
    yield "\n".join(["| event | when | fields |", "|---|---|---|", *rows])


def _workflow(plan: EffectiveWorkflow) -> str:
    lines = [
        f"### `{plan.workflow.name}`",
        "",
        plan.workflow.doc,
        "",
        "| step | what it does | gives |",
        "|---|---|---|",
    ]
    for step in plan.steps:
        gives = ", ".join(f"`{name}: {_type(kind)}`" for name, kind in types_of(step.output).items()) or "-"
        lines.append(f"| `{step.name}` | {step.title} | {gives} |")
    return "\n".join(lines)


def _type(kind: object) -> str:
    inner = typing.get_args(kind)
    if inner:
        origin = getattr(typing.get_origin(kind), "__name__", "")
        names = [_type(one) for one in inner]
        return " or ".join(names) if origin in ("Union", "UnionType") else f"{origin}[{', '.join(names)}]"
    return "None" if kind is type(None) else getattr(kind, "__name__", str(kind))


# -- of one plugin --------------------------------------------------------------------------------------------------------------


def plugin_page(manifest: Manifest, loaded: Loaded) -> str:
    """What a plugin brings: calls, tables, settings, tags, events, steps, errors."""
    earlier = [one for one in loaded.manifests if one.name != manifest.name and one.name in manifest.needs]
    known = {id(thing) for one in earlier for thing in (*one.contents.settings, *one.contents.tags)}
    own = manifest.contents
    tables = [
        ("call", ((api.__name__, _first(api)) for api in own.api)),
        ("entity", ((record.meta.entity or record.meta.table, _first(record)) for record in own.records)),
        (
            "setting",
            (
                (s.key, f"{s.doc}; {s.fits()}; by default `{show(s.default)}`")
                for s in own.settings
                if id(s) not in known
            ),
        ),
        ("system tag", ((tag.pattern, f"on {tag.entity}: {tag.doc}") for tag in own.tags if id(tag) not in known)),
        ("event", _own_events(manifest)),
        ("step", ((step.name, step.title) for step in own.steps)),
        ("error", _errors(manifest)),
    ]
    parts = [f"# {manifest.name}", _text(manifest.doc)]
    for title, rows in tables:
        lines = [f"| `{name}` | {_cell(text)} |" for name, text in sorted(rows)]
        if lines:
            parts.append("\n".join([f"| {title} | it is |", "|---|---|", *lines]))
    return "\n\n".join(parts) + "\n"


def _own_events(manifest: Manifest) -> Iterator[tuple[str, str]]:
    for kind in message_types().values():
        if issubclass(kind, Event) and f"{kind.__module__}.".startswith(f"{manifest.package}."):
            yield tag_of(kind), _first(kind)


def _errors(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """The codes in a package's sources, each once, with where it is raised."""
    found: dict[str, str] = {}
    for file in sorted(manifest.folder.rglob("*.py")):
        for code in _codes(ast.parse(file.read_text(encoding="utf-8"))):
            found.setdefault(code, f"raised in `{file.relative_to(manifest.folder)}`")
    yield from found.items()


def _codes(tree: ast.AST) -> Iterable[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _MAKERS and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str) and _CODE.fullmatch(first.value):
                yield first.value


def _first(thing: object) -> str:
    """The first sentence of a docstring."""
    text = _text(inspect.getdoc(thing) or "")
    return re.split(r"(?<=[.])\s", text, maxsplit=1)[0]


def _text(text: str) -> str:
    return _cell(" ".join(text.split()))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("``", "`")


def write(path: Path, text: str, *, check: bool) -> int:
    """Write a page, or only say by an exit code whether it is as it should be."""
    if check:
        return 0 if path.read_text(encoding="utf-8") == text else 1
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return 0

"""Count what one thing more costs: a field, a message, a step, a noun; and what is said twice.

    python tools/count_costs.py [--root CHECKOUT] [--json]

Sources are only read, never imported, so any checkout can be counted with the same rules, older ones too. Each figure is
printed with its rule. The rules count names, not meanings: compare figures of two checkouts, not of two programs.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import tokenize
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import msgspec
from msgspec import Struct

ROOT = Path(__file__).resolve().parents[1]

#: what one field of a VM is called on its way from the API to the host
FIELD = frozenset({"memory_size", "vm_memory_bytes", "memory_bytes"})
FIELD_NAMES = re.compile(rf"\b({'|'.join(sorted(FIELD))})\b")
FIELD_PATHS = (
    "services/vm",
    "services/volume",
    "services/host",
    "agents/protocol/vm.py",
    "agents/kvm",
    "simulator",
)
MESSAGE = re.compile(r"reboot", re.IGNORECASE)
STEP = re.compile(r"\bStartOnHost\b|\bvm\.start-on-host\b")
NOUN = "services/zone"
MACHINES = ("services/host", "services/backup_storage", "kernel/machine*")
MACHINE_PLUGINS = ("plugins/kvm", "plugins/backup_server", "plugins/simulator")
#: the parts of the house that nouns are in
NOUNS = ("services", "plugins")
IDS = "services.ids"  #: a module that every noun may import, which belongs to none of them
#: files that only declare, whatever they hold: what uses them is tested
DECLARATIONS = frozenset(
    {"__init__.py", "messages.py", "model.py", "config.py", "manifest.py", "provided.py", "extensions.py"}
)


class Cost(Struct, frozen=True, kw_only=True):
    """Figures that were counted by one rule."""

    name: str
    rule: str
    figures: dict[str, int]
    found: list[str] = []  #: what was counted, where that fits on a page


# -- reading -------------------------------------------------------------------------------------------------------------


@cache
def tree_of(path: Path) -> ast.Module:
    """A module's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"))


def source_of(root: Path) -> Path:
    """The package's folder in a checkout."""
    return root / "src" / "cairn"


def sources(source: Path, *paths: str) -> list[Path]:
    """Modules and workflow files below `paths` (patterns, relative to the package); without any, all."""
    below = [found for pattern in paths for found in sorted(source.glob(pattern))] if paths else [source]
    files = (file for top in below for file in ([top] if top.is_file() else sorted(top.rglob("*"))))
    return list(dict.fromkeys(file for file in files if file.suffix in (".py", ".toml")))


def lines_in(files: Iterable[Path]) -> int:
    """How many lines files have, empty ones and comments included."""
    return sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)


def named(file: Path, what: re.Pattern[str]) -> set[int]:
    """The lines on which a file names something: in Python by a name or a text, not in docstrings and comments."""
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".py":
        return {number for number, line in enumerate(text.splitlines(), 1) if what.search(line)}
    lines: set[int] = set()
    if not what.search(text):
        return lines
    begins = True
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if (token.type == tokenize.NAME and what.search(token.string)) or (
            token.type == tokenize.STRING and not begins and what.search(token.string)
        ):
            lines.add(token.start[0])
        if token.type not in (tokenize.NL, tokenize.COMMENT):
            begins = token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    return lines


def _places(source: Path, files: Iterable[Path], what: re.Pattern[str]) -> dict[str, set[int]]:
    found = {str(file.relative_to(source)): named(file, what) for file in files}
    return {name: lines for name, lines in found.items() if lines}


def _total(places: Mapping[str, set[int]]) -> int:
    return sum(map(len, places.values()))


# -- who knows whom ------------------------------------------------------------------------------------------------------


def imports(tree: ast.Module) -> Iterator[str]:
    """The modules of the house that a module imports, for type checking only included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "cairn":
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "cairn")


_NAME = re.compile(r'^    name = "([\w.-]+)"$', re.MULTILINE)
_QUOTED = re.compile(r'"([\w.-]+)"')


def known(source: Path) -> dict[str, set[str]]:
    """Each service and plugin (``services.vm``), with those that it imports of the others, or whose steps it lists."""
    nouns: dict[str, set[str]] = {}
    steps = _steps(source)
    for part in NOUNS:
        for manifest in sorted((source / part).glob("*/manifest.py")):
            noun = f"{part}.{manifest.parent.name}"
            modules = (imports(tree_of(path)) for path in sorted(manifest.parent.rglob("*.py")))
            others = {".".join(name.split(".")[1:3]) for names in modules for name in names}
            listed = {steps[name] for name in _listed(manifest.parent / "workflows.toml") if name in steps}
            nouns[noun] = {other for other in others | listed if other.split(".")[0] in NOUNS} - {noun, IDS}
    return nouns


def _steps(source: Path) -> dict[str, str]:
    """The noun of each step, by the step's name."""
    found: dict[str, str] = {}
    for part in NOUNS:
        for path in sorted((source / part).glob("*/**/*.py")):
            noun = ".".join(path.relative_to(source).parts[:2])
            found |= dict.fromkeys(_NAME.findall(path.read_text(encoding="utf-8")), noun)
    return found


def _listed(path: Path) -> set[str]:
    """The names that a file of workflows has between quotes."""
    return set(_QUOTED.findall(path.read_text(encoding="utf-8"))) if path.exists() else set()


def both_ways(nouns: Mapping[str, set[str]]) -> set[tuple[str, str]]:
    """The pairs that know each other."""
    return {(one, other) for one in nouns for other in nouns[one] if one < other and one in nouns.get(other, ())}


def required(source: Path, noun: str) -> set[str]:
    """The names that a noun's manifest requires."""
    return {
        str(element.value)
        for call in _manifest_calls(source, noun)
        for keyword in call.keywords
        if keyword.arg == "requires" and isinstance(keyword.value, (ast.Tuple, ast.List))
        for element in keyword.value.elts
        if isinstance(element, ast.Constant)
    }


def _manifest_calls(source: Path, noun: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree_of(source.joinpath(*noun.split("."), "manifest.py"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Manifest":
            yield node


def requiring_others(source: Path) -> dict[str, tuple[set[str], set[str]]]:
    """Nouns whose manifest requires other names than those they import: what it lacks, and what is too much."""
    found = {}
    for noun, others in known(source).items():
        imported, needed = {other.split(".")[1] for other in others}, required(source, noun)
        if imported != needed:
            found[noun] = (imported - needed, needed - imported)
    return found


# -- what is tested ------------------------------------------------------------------------------------------------------


def untested(root: Path) -> set[str]:
    """Modules that do something and have no unit test of their name."""
    source, unit = source_of(root), root / "tests" / "unit"
    names = {path: path.relative_to(source) for path in source.rglob("*.py")}
    return {
        str(name)
        for path, name in names.items()
        if name.name not in DECLARATIONS
        and "migrations" not in name.parts
        and not (unit / name.parent / f"test_{name.name}").exists()
        and not only_declares(tree_of(path))
    }


def without_module(root: Path) -> set[str]:
    """Unit tests whose name is that of no module, of the package or of `tools`."""
    unit = root / "tests" / "unit"
    tests = {path.relative_to(unit) for path in unit.rglob("test_*.py")}
    modules = {test: test.with_name(test.name.removeprefix("test_")) for test in tests}
    return {str(test) for test in tests if not any((top / modules[test]).exists() for top in (source_of(root), root))}


def only_declares(tree: ast.Module) -> bool:
    """Whether no function of a module has a body."""
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return all(
        isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant)
        for function in functions
        for part in function.body
    )


# -- the costs -----------------------------------------------------------------------------------------------------------


def field(root: Path) -> Cost:
    """A field of a VM."""
    source = source_of(root)
    files = sources(source, *FIELD_PATHS)
    places = _places(source, files, FIELD_NAMES)
    carrying = {
        name: carried
        for file in files
        if file.suffix == ".py"
        and (carried := carrying_lines(tree_of(file), _declares_field(name := _name(source, file))))
    }
    return Cost(
        name="a field of a VM (its memory)",
        rule=f"lines that name {', '.join(sorted(FIELD))} in {', '.join(FIELD_PATHS)}; a line only carries it where it is "
        "`x=y.x` or `x=x` in a call, or the annotation of a field or argument in a file that is neither messages, model "
        "nor the agents' protocol; a host's memory of the same name counts as well",
        figures={"files": len(places), "lines": _total(places), "lines that only carry it": _total(carrying)},
        found=[f"{name}: {len(lines)}, carrying {len(carrying.get(name, ()))}" for name, lines in places.items()],
    )


def _name(source: Path, file: Path) -> str:
    return str(file.relative_to(source))


def _declares_field(name: str) -> bool:
    return name.endswith(("messages.py", "model.py")) or name.startswith("agents/protocol/")


def carrying_lines(tree: ast.Module, declares: bool) -> set[int]:
    """The lines that hand the field on, or write its type down once more; `declares`: where that is the place to."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg in FIELD and _is_field(node.value):
            lines.add(node.value.lineno)
        elif declares:
            continue
        elif (isinstance(node, ast.AnnAssign) and _is_field(node.target)) or (
            isinstance(node, ast.arg) and node.arg in FIELD
        ):
            lines.add(node.lineno)
    return lines


def _is_field(node: ast.expr) -> bool:
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None
    return name in FIELD


def message(root: Path) -> Cost:
    """A message."""
    source = source_of(root)
    files = sources(source, "services")
    places = _places(source, files, MESSAGE)
    lists = [f"{_name(source, file)}:{line}" for file in files for line in sorted(lists_naming(file, MESSAGE))]
    return Cost(
        name="a message (rebooting a VM, with its steps)",
        rule=f"lines in services/ that name /{MESSAGE.pattern}/ outside of docstrings and comments; a list is a literal "
        "list, tuple, set or dictionary, an import, a call of `register` or `steps` of a workflow, counted once however "
        "many of its entries name it",
        figures={"files": len(places), "lines": _total(places), "lists": len(lists)},
        found=lists,
    )


def lists_naming(file: Path, what: re.Pattern[str]) -> set[int]:
    """The lines where lists begin that name something."""
    if file.suffix == ".toml":
        workflows = tomllib.loads(file.read_text(encoding="utf-8")).get("workflow", {})
        return {
            number
            for number, flow in enumerate(workflows.values(), 1)
            if any(what.search(step) for step in flow.get("steps", ()))
        }
    tree = tree_of(file)
    types = {id(node.slice) for node in ast.walk(tree) if isinstance(node, ast.Subscript)}
    return {
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, (ast.List, ast.Tuple, ast.Set, ast.Dict, ast.ImportFrom, ast.Call))
        and id(node) not in types
        and any(what.search(word) for word in _entries(node))
    }


def _entries(node: ast.List | ast.Tuple | ast.Set | ast.Dict | ast.ImportFrom | ast.Call) -> Iterator[str]:
    """What a list names: its entries, each called or not."""
    match node:
        case ast.ImportFrom():
            yield from (alias.name for alias in node.names)
            return
        case ast.Call():
            is_list = isinstance(node.func, ast.Attribute) and node.func.attr == "register"
            entries = node.args if is_list else []
        case ast.Dict():
            entries = [*(key for key in node.keys if key is not None), *node.values]
        case _:
            entries = node.elts
    for entry in entries:
        at = entry.func if isinstance(entry, ast.Call) else entry
        if isinstance(at, ast.Attribute):
            yield at.attr
        elif isinstance(at, ast.Name):
            yield at.id
        elif isinstance(at, ast.Constant):
            yield str(at.value)


def step(root: Path) -> Cost:
    """A step."""
    source = source_of(root)
    places = _places(source, sources(source), STEP)
    return Cost(
        name="a step (starting a VM on its host)",
        rule=f"lines in src/ that name /{STEP.pattern}/ outside of docstrings and comments",
        figures={"files": len(places), "lines": _total(places)},
        found=[f"{name}: {len(lines)}" for name, lines in places.items()],
    )


def noun(root: Path) -> Cost:
    """The smallest noun."""
    files = [file for file in sources(source_of(root), NOUN) if file.stat().st_size]
    return Cost(
        name="the smallest noun (zone)",
        rule=f"files that are not empty in {NOUN}, and their lines",
        figures={"files": len(files), "lines": lines_in(files)},
    )


def sizes(root: Path) -> Cost:
    """Lines."""
    source = source_of(root)
    manifests = [file for part in NOUNS for file in sorted((source / part).glob("*/manifest.py"))]
    migrations = [file for file in sources(source) if "migrations" in file.parts]
    return Cost(
        name="lines",
        rule="all lines of .py and .toml, empty ones and comments included",
        figures={
            "manifests": lines_in(manifests),
            "longest manifest": max((lines_in([file]) for file in manifests), default=0),
            " + ".join(MACHINES): lines_in(sources(source, *MACHINES)),
            " + ".join(MACHINE_PLUGINS): lines_in(sources(source, *MACHINE_PLUGINS)),
            "services + plugins": lines_in(sources(source, *NOUNS)),
            "src/cairn": lines_in(sources(source)),
            "of these, migrations": lines_in(migrations),
        },
    )


def string_lookups(root: Path) -> Cost:
    """Look-ups by the name of a service."""
    source = source_of(root)
    found = [
        f"{_name(source, file)}:{node.lineno}"
        for file in sources(source)
        if file.suffix == ".py"
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "named"
        and len(node.args) > 1
        and isinstance(node.args[1], ast.Constant)
    ]
    return Cost(
        name="look-ups by string",
        rule="calls of `named(X, ...)` in src/ whose second argument is a text",
        figures={"calls": len(found)},
        found=found,
    )


def circles(root: Path) -> Cost:
    """Who knows whom."""
    source = source_of(root)
    pairs, others = both_ways(known(source)), requiring_others(source)
    return Cost(
        name="nouns and those that they know",
        rule="services and plugins of which each imports something of the other, or lists its steps; manifests "
        "whose `requires` is not what their package imports or lists",
        figures={"pairs both ways": len(pairs), "manifests that differ": len(others)},
        found=[
            *(f"{one} <-> {other}" for one, other in sorted(pairs)),
            *(f"{name} lacks {sorted(lacks)}, too much {sorted(more)}" for name, (lacks, more) in others.items()),
        ],
    )


def mirror(root: Path) -> Cost:
    """Modules and unit tests."""
    lost = untested(root)
    return Cost(
        name="modules and unit tests of their name",
        rule="a module needs a unit test unless none of its functions has a body, or it is a migration or one of "
        f"{', '.join(sorted(DECLARATIONS))}",
        figures={"modules without a test": len(lost), "tests without a module": len(without_module(root))},
        found=sorted(lost),
    )


COSTS: Sequence[Callable[[Path], Cost]] = (
    field,
    message,
    step,
    noun,
    sizes,
    string_lookups,
    circles,
    mirror,
)


def text_of(costs: Iterable[Cost]) -> str:
    """The figures as people read them."""
    blocks = []
    for cost in costs:
        figures = "\n".join(f"  {value:>7,}  {name}" for name, value in cost.figures.items())
        blocks.append(f"{cost.name}\n{figures}\n  rule: {cost.rule}\n")
    return "\n".join(blocks)


def main() -> None:
    """Print the figures of a checkout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=ROOT, help="a checkout; by default the one that this file is in")
    parser.add_argument("--json", action="store_true", help="everything, with what was found, for programs")
    given = parser.parse_args()
    costs = [count(given.root.resolve()) for count in COSTS]
    print(msgspec.json.format(msgspec.json.encode(costs)).decode() if given.json else text_of(costs), end="")


if __name__ == "__main__":
    main()

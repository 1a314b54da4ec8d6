"""What documents say can be checked, and is: links, paths, names, commands, code, generated pages."""

from __future__ import annotations

import ast
import importlib
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest
from tools import draw_architecture, list_plugin_points, list_settings

from cairn.bootstrap import load_plugins
from cairn.cli.main import cairn
from cairn.gateway.queries import collection_path
from cairn.kernel.api import command_name
from cairn.kernel.settings import load
from cairn.testing.stores import VARIABLE

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md"), *ROOT.glob("news/*.md")]
)
IDS = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
SOURCES = [*ROOT.glob("src/cairn/**/*.py"), *ROOT.glob("src/cairn/**/*.toml"), *ROOT.glob("examples/**/*.py")]

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_TICKED = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"(?:src|tests|tools|docs|examples|news)/[\w./-]*\w")
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_DOTTED = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*\.[a-z][a-z0-9]*(?:-[a-z0-9]+)+|[a-z0-9-]+\.[a-z]+-[a-z0-9-]+")
_VARIABLE = re.compile(r"\bCAIRN_[A-Z_]+\b")
_COMMAND = re.compile(r"^ *(?:[A-Z_]+=\S+ )*cairn ([^|&;\n]*)", re.MULTILINE)
#: what the guest image prints, which is no command
_GUEST = re.compile(r"cairn guest\b.*")
#: variables of the command line, which are no fields of `Settings`
_CLI_VARIABLES = {
    "CAIRN_URL",
    "CAIRN_ACCOUNT",
    "CAIRN_PASSWORD",
    "CAIRN_CA_FILE",
    "CAIRN_LAB_NAME",
    "CAIRN_BENCH_PASSWORD",
    VARIABLE,
}

every_document = pytest.mark.parametrize("path", DOCUMENTS, ids=IDS)


def blocks(text: str, language: str) -> Iterator[str]:
    """The fenced blocks of a language, without their indentation."""
    for found in _FENCE.finditer(text):
        if found.group(2) == language:
            yield textwrap.dedent(found.group(3))


def prose(text: str) -> str:
    """The text without fenced blocks."""
    return _FENCE.sub("", text)


@every_document
def test_relative_links_lead_somewhere(path: Path) -> None:
    targets = [link.partition("#")[0] for link in _LINK.findall(prose(path.read_text())) if "://" not in link]
    assert [target for target in targets if target and not (path.parent / target).exists()] == []


@every_document
def test_paths_named_exist(path: Path) -> None:
    named = [part for tick in _TICKED.findall(prose(path.read_text())) for part in _PATH.findall(tick)]
    named = [name for name in named if "NNNN" not in name]
    assert [name for name in named if not (ROOT / name).exists()] == []


@cache
def _words() -> frozenset[str]:
    """Every text between quotes in the sources: names of steps, workflows, messages, events, and codes of errors."""
    return frozenset(
        word
        for source in SOURCES
        for word in re.findall(r"[\"'`]([a-z][\w.<>-]*)[\"'`]", source.read_text(encoding="utf-8"))
    )


@every_document
def test_codes_and_names_of_steps_are_those_of_the_sources(path: Path) -> None:
    ticked = [tick for tick in _TICKED.findall(path.read_text()) if _DOTTED.fullmatch(tick) and ".db-" not in tick]
    assert [tick for tick in ticked if tick not in _words()] == []


@every_document
def test_workflow_changes_name_workflows_and_steps_there_are(path: Path) -> None:
    named = re.findall(
        r"^ *(?:workflow|step|after|before|replace|remove) = \"([^\"]+)\"", path.read_text(), re.MULTILINE
    )
    assert [name for name in named if name not in _words()] == []


@every_document
def test_python_compiles_and_its_imports_are_there(path: Path) -> None:
    for block in blocks(path.read_text(), "python"):
        compile(block, str(path), "exec")
        for module, names in re.findall(r"^from (cairn[\w.]*) import (.+)$", block, re.MULTILINE):
            imported = importlib.import_module(module)
            for name in names.split(","):
                assert hasattr(imported, name.strip()) or importlib.import_module(f"{module}.{name.strip()}")


@every_document
def test_environment_variables_are_known(path: Path) -> None:
    known = {f"CAIRN_{name.upper()}" for name in load({}).__struct_fields__} | _CLI_VARIABLES
    assert [name for name in _VARIABLE.findall(path.read_text()) if name not in known] == []


@cache
def _apis() -> frozenset[str]:
    extra = load({}, plugins_extra="cairn_audit.manifest")
    return frozenset(command_name(api.__name__) for manifest in load_plugins(extra).manifests for api in manifest.api)


def _commands(path: Path) -> list[str]:
    text = _GUEST.sub("", path.read_text())
    fenced = [found.group(3) for found in _FENCE.finditer(text) if found.group(2) == "sh"]
    indented = [line for line in prose(text).splitlines() if line.startswith("    ")]
    ticked = [tick for tick in _TICKED.findall(prose(text)) if tick.startswith("cairn ")]
    return _COMMAND.findall("\n".join([*fenced, *indented, *ticked]))


def _complaint(words: list[str]) -> str | None:
    """What is wrong with a command line of `cairn`, or None."""
    context = click.Context(cairn, info_name="cairn")
    group: click.Command = cairn
    options: set[str] = {name for param in cairn.params for name in param.opts}
    while words and isinstance(group, click.Group) and words[0] != "…":
        if words[0].startswith("-"):
            break
        name = words.pop(0)
        found = group.get_command(context, name)
        if found is None:
            return None if group is cairn and name in _apis() else f"there is no command {name}"
        group = found
        options |= {
            name for param in group.params for name in (*param.opts, *param.secondary_opts) if name.startswith("-")
        }
    options |= {"--help", "-h"}
    unknown = [word for word in words if word.startswith("-") and word.split("=")[0] not in options]
    return f"{group.name} has no option {', '.join(unknown)}" if unknown else None


@every_document
def test_commands_exist(path: Path) -> None:
    complaints = [(line, _complaint(line.split("#")[0].split())) for line in _commands(path)]
    assert [(line, complaint) for line, complaint in complaints if complaint] == []


def _extension_points() -> set[str]:
    """Every protocol that plugins implement: the classes of services' `extensions.py` that say so."""
    return {
        node.name
        for path in (ROOT / "src/cairn/kernel/extensions.py", *ROOT.glob("src/cairn/services/*/extensions.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).startswith("Protocol") for base in node.bases)
    }


def test_table_of_extension_points_names_each_and_no_other() -> None:
    page = (ROOT / "docs" / "checklists" / "plugin.md").read_text()
    rows = re.findall(r"^ *\|([^|]*)\|[^|]*\|[^|]*\| *$", page, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([A-Z]\w+)`", row)}
    assert sorted(_extension_points() - named) == [], "they stand in no row of the table"
    assert sorted(named - _extension_points()) == [], "there are no such protocols"


def test_readme_has_commands() -> None:
    assert len(_commands(ROOT / "README.md")) > 10


def test_makefile_has_the_targets_that_the_readme_names() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b", (ROOT / "README.md").read_text())) <= targets


def test_paths_of_the_api_are_served() -> None:
    loaded = load_plugins(load({}))
    metas = [record.meta for record in loaded.records if record.meta.entity]
    served = {meta.path or collection_path(meta.entity or "") for meta in metas}
    served |= {api.http.path for manifest in loaded.manifests for api in manifest.api} | {"/api-jobs", "/events"}
    served |= {"/openapi.json", "/schema"}
    firsts = {path.split("/")[1] for path in served}
    named = re.findall(r"/v1/([a-z0-9.-]+)", (ROOT / "docs" / "api.md").read_text())
    assert [name for name in named if name not in firsts] == []


def test_metrics_named_are_those_of_a_node() -> None:
    from cairn.kernel.metrics import Metrics

    rendered = Metrics().render().decode() + "cairn_http_seconds"
    named = set(re.findall(r"`(cairn_\w+_(?:seconds|total|batch)|cairn_jobs|cairn_queue\w*)`", _operations()))
    assert [name for name in sorted(named) if name not in rendered] == []


def _operations() -> str:
    return (ROOT / "docs" / "operations.md").read_text()


async def test_reference_of_plugins_is_fresh() -> None:
    fresh = await list_plugin_points.page()
    assert list_plugin_points.TARGET.read_text() == fresh, "run: python tools/list_plugin_points.py"


def test_list_of_settings_is_fresh() -> None:
    fresh = list_settings.page(load_plugins(load({})).manifests)
    assert list_settings.TARGET.read_text() == fresh, "run: python tools/list_settings.py"


@pytest.mark.parametrize("name", sorted(draw_architecture.DRAWINGS))
def test_drawing_is_fresh(name: str) -> None:
    fresh = draw_architecture.DRAWINGS[name]()
    assert (draw_architecture.FOLDER / name).read_text() == fresh, "run: python tools/draw_architecture.py"

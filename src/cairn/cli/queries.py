"""``cairn query VmInstance vmNics.l3Network.name=flat state=Running fields=name,uuid``."""

from __future__ import annotations

import re
from collections.abc import Sequence

import click
from msgspec import Struct

from cairn.cli import output
from cairn.cli.client import Json, Page
from cairn.cli.context import Context, common, pass_context
from cairn.cli.errors import usage
from cairn.cli.schema import Entity, Schema, nearest
from cairn.cli.values import size_of

_OPTION = re.compile(r"(fields|sort|limit|start)=(.*)", re.DOTALL)
_COMPARISON = re.compile(r"([A-Za-z0-9_.]+)(!=|>=|<=|=|>|<)([0-9]+[KMGTPkmgtp](?:i?B)?)")
#: The columns of entities for which the node names none, as far as they exist.
_GENERIC = ("name", "uuid", "type", "state", "status", "managementIp", "ip", "size", "createDate")
_FEW = 6


class QueryWords(Struct, frozen=True, kw_only=True):
    """The words of a query, understood."""

    conditions: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()


def ask(schema: Schema, entity: Entity, words: Sequence[str]) -> QueryWords:
    """Conditions, and ``fields=``, ``sort=``, ``limit=``, ``start=`` among them. Sizes are turned into bytes."""
    conditions: list[str] = []
    fields: list[str] = []
    options: list[tuple[str, str]] = []
    for word in words:
        match = _OPTION.fullmatch(word)
        if match is None or match[1] in entity.by_field:
            conditions.append(_condition(schema, entity, word))
        elif match[1] == "fields":
            fields += [part.strip() for part in match[2].split(",") if part.strip()]
        else:
            options.append((match[1], match[2]))
    return QueryWords(conditions=tuple(conditions), fields=tuple(fields), options=tuple(options))


def _condition(schema: Schema, entity: Entity, word: str) -> str:
    """``memorySize>=1G`` in bytes; anything else as it is."""
    match = _COMPARISON.fullmatch(word)
    field = schema.field_at(entity.name, match[1]) if match else None
    if match is None or field is None or field.unit != "bytes":
        return word
    return f"{match[1]}{match[2]}{size_of(match[3])}"


@click.command("query")
@click.argument("entity")
@click.argument("words", nargs=-1, metavar="[CONDITION | fields=a,b | sort=-field | limit=N | start=N]...")
@click.option("--count", is_flag=True, help="Only how many there are.")
@click.option(
    "--all", "everything", is_flag=True, help="All that there are, page by page; else at most 1000, or limit=N."
)
@click.option("-q", "--quiet", is_flag=True, help="Print only the uuids.")
@common
@pass_context
def query(context: Context, entity: str, words: tuple[str, ...], count: bool, everything: bool, quiet: bool) -> None:
    """Find resources of a kind: VmInstance, Host, L3Network, …

    Conditions compare a field, or a field of anything linked to it, with =, !=, >, >=, <, <=, ~= (a pattern with %),
    !~=, ?= (one of a list), !?=, 'is null', 'not null'; all have to hold.

    \b
    cairn query VmInstance vmNics.l3Network.name=flat state=Running fields=name,uuid
    cairn query Host 'vmInstance.name~=web%' sort=-createDate limit=20
    """
    client = context.client
    found = entity_named(client.schema, entity)
    asked = ask(client.schema, found, words)
    options = list(asked.options)
    if count:
        options.append(("count", "true"))
    elif asked.fields:
        options.append(("fields", ",".join(asked.fields)))
    if everything and not count:
        _check_all(asked)
        page = Page(inventories=list(client.all(found.name, asked.conditions, options=options)))
    else:
        page = client.query(found.name, asked.conditions, options=options)
    if context.as_json:
        output.print_json(page)
    elif count:
        click.echo(str(page.total))
    elif quiet:
        for inventory in page.inventories:
            click.echo(str(inventory.get(found.key, "")))
    else:
        show(page, found, asked.fields)
    if page.next is not None and not any(name == "limit" for name, _ in options):
        output.say("There are more. Say --all, limit=N, or more conditions.")


def _check_all(asked: QueryWords) -> None:
    """Refuse what says --all and something else."""
    given = [name for name, _ in asked.options if name in ("limit", "start")]
    if given:
        raise usage(f"--all and {given[0]}= do not go together; leave one of them out.", code="cli.all-and-page")


def entity_named(schema: Schema, name: str) -> Entity:
    """The entity that people mean (usage error with near names)."""
    entity = schema.entity(name)
    if entity is None:
        known = [one.name for one in schema.entities]
        hint = nearest(name, known) or f" There are: {', '.join(known)}."
        raise usage(f"There is nothing called {name!r} to query.{hint}", code="cli.no-such-entity")
    return entity


def show(page: Page, entity: Entity, fields: Sequence[str] = ()) -> None:
    """Print a page as a table, or that it is empty."""
    if not page.inventories:
        output.say(f"No {entity.name} matches.")
        return
    columns = list(fields) or [column for column in columns_of(entity) if _is_in(page, column)]
    output.table(columns, ([_cell(inventory, column, entity) for column in columns] for inventory in page.inventories))


def columns_of(entity: Entity) -> list[str]:
    """The columns that are shown unless fields are asked for."""
    if entity.columns:
        return list(entity.columns)
    known = [name for name in _GENERIC if name in entity.by_field]
    if len(known) < _FEW:
        known += [field.name for field in entity.fields if field.shown and field.name not in known]
    return known[:_FEW]


def _is_in(page: Page, column: str) -> bool:
    """Whether any row has the column: some are shown to administrators only."""
    name, _, _ = column.partition(".")
    return any(name in inventory for inventory in page.inventories)


def _cell(inventory: Json, column: str, entity: Entity) -> str:
    name, _, rest = column.partition(".")
    value = inventory.get(name)
    if rest and isinstance(value, list):
        return ", ".join(output.cell(one.get(rest)) for one in value if isinstance(one, dict)) or "-"
    field = entity.by_field.get(name)
    return output.cell(value, field.unit if field else "")

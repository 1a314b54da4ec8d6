"""The query engine: conditions in, inventories out, over every entity of the schema, without code per query."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from cairn.kernel.error import CairnError
from cairn.kernel.query.accounts import for_accounts, narrowed
from cairn.kernel.query.bounds import check_cost, check_size, too_slow
from cairn.kernel.query.catalog import Catalog, Entity, TagTables
from cairn.kernel.query.condition import Condition, Operator, parse
from cairn.kernel.query.cursor import opened, sealed
from cairn.kernel.query.describe import EntityDescription, describe
from cairn.kernel.query.inventory import Inventory, InventoryReader
from cairn.kernel.query.plan import PATIENCE, Fragment, Mark, Planner, Scope, Shares, Sort
from cairn.kernel.query.resolve import Comparison, fixed_subtype, resolve, unknown
from cairn.kernel.store.driver import Row
from cairn.kernel.store.record import Kind
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Store
from cairn.kernel.store.tx import Tx

MAX_LIMIT = 10_000
MAX_START = 2**63 - 1
DEFAULT_LIMIT = 1_000
EVERYTHING = Scope()
_UNSORTED = (Kind.JSON, Kind.OPAQUE, Kind.BYTES)


class QueryRequest(Struct, frozen=True, kw_only=True):
    """A query over one entity.

    `conditions`: texts, all must hold. `limit`: 0 to 10,000 inventories, from number `start` on (0 is the first), or behind
    the page whose `next` is `after`. `count`: only the number of all that fit; `reply_with_count`: it in addition to the page;
    `count_up_to`: count no further than that. `sort`: a field, ``+field`` or ``-field`` (descending); None: in the order of
    creation, where the database keeps it, else by key. `fields`: only these; none: all.
    """

    entity: str
    conditions: Sequence[str] = ()
    limit: int = DEFAULT_LIMIT
    start: int = 0
    after: str | None = None
    count: bool = False
    reply_with_count: bool = False
    count_up_to: int | None = None
    sort: str | None = None
    fields: Sequence[str] = ()


class QueryAnswer(Struct, frozen=True, kw_only=True):
    """The answer to a query: a page of inventories (None if only the number was asked for), the number of all (if it was), and
    what the next page begins behind (None: there is none)."""

    inventories: list[Inventory] | None = None
    total: int | None = None
    next: str | None = None


class _Side(Struct, frozen=True, eq=False):
    """A catalog with its reader: of everything, or of the part for accounts."""

    catalog: Catalog
    reader: InventoryReader


class QueryEngine:
    """Answers queries on the store's records. For accounts there are only the entities and fields that they may see.

    Args:
        schema: all records.
        store: where they are.
        tags: the tables with tags, for ``__systemTag__`` and ``__userTag__``; None: tags do not exist.
        shares: the table of shared resources; None: nothing is shared.
        timeout_seconds: how long a query may take, its turn included.

    Raises:
        CairnError: ``store.bad-record``: a record's declarations for queries cannot work; the sentence names the class.
    """

    def __init__(
        self,
        schema: Schema,
        store: Store,
        *,
        tags: TagTables | None = None,
        shares: Shares | None = None,
        timeout_seconds: Callable[[], float] = lambda: 10.0,
    ) -> None:
        catalog = Catalog(schema, tags)
        self._everything = _Side(catalog, InventoryReader(catalog, store.driver, store.seals))
        catalog = for_accounts(catalog)
        self._accounts = _Side(catalog, InventoryReader(catalog, store.driver, store.seals))
        self._described: dict[str, EntityDescription] | None = None
        self._store = store
        self._shares = shares
        self._timeout_seconds = timeout_seconds

    async def run(self, request: QueryRequest, scope: Scope = EVERYTHING) -> QueryAnswer:
        """Answer a query, all of it from one snapshot.

        Raises:
            CairnError: ``query.unknown-entity``, ``query.unknown-field``, ``query.no-operator``,
                ``query.bad-operator``, ``query.bad-value``, ``query.bad-sort``, ``query.bad-limit``, ``query.bad-after``,
                ``query.too-complex``;
                each says where, what was found, and what would fit. ``query.too-slow``, ``query.too-many``.
        """
        asked = self._understand(request, scope)
        seconds = self._timeout_seconds()
        try:
            return await self._store.query(
                lambda tx: self._answer(tx, asked, scope), asker=scope.owner, seconds=seconds
            )
        except CairnError as error:
            if error.code != "store.stopped":
                raise
            raise too_slow(seconds) from error

    def run_in(self, tx: Tx, request: QueryRequest, scope: Scope = EVERYTHING) -> QueryAnswer:
        """As `run`, inside a transaction."""
        return self._answer(tx, self._understand(request, scope), scope)

    async def get(self, entity: str, uuid: str, scope: Scope = EVERYTHING) -> Inventory | None:
        """The inventory of one resource; None if it does not exist or `scope` may not see it (``query.unknown-entity``)."""
        return await self._store.look(lambda tx: self.inventory(tx, entity, uuid, scope))

    def inventory(self, tx: Tx, entity: str, uuid: str, scope: Scope = EVERYTHING) -> Inventory | None:
        """As `get`, inside a transaction. Fast: one statement for the row and one for each list shown inside."""
        side = self._side(scope)
        here = _entity(side.catalog, entity)
        planner = self._planner(scope)
        if scope.owner is not None or here.type_column is not None:
            key = here.columns[here.key.wire]
            comparison = Comparison(hops=(), column=key.column, operator=Operator.EQUAL, values=(uuid,), indexed=True)
            page = planner.page(here, [comparison], None, None, 1, 0, whole=False)
            if not tx.fetch(page.text, page.values):
                return None
        found = side.reader.read(tx, planner, here, (uuid,))
        return found[0] if found else None

    def narrowed(self, entity: str, inventory: Inventory) -> Inventory:
        """The part that accounts see of an inventory that was made for an admin (``query.unknown-entity``)."""
        catalog = self._accounts.catalog
        return narrowed(catalog, _entity(catalog, entity), inventory)

    def schema(self) -> dict[str, EntityDescription]:
        """All entities with their fields and joins: for completion, the API's documentation, view builders."""
        if self._described is None:
            self._described = describe(self._everything.catalog)
        return self._described

    def _side(self, scope: Scope) -> _Side:
        return self._everything if scope.owner is None else self._accounts

    def _planner(self, scope: Scope) -> Planner:
        return Planner(self._side(scope).catalog, self._store.driver, scope, self._shares)

    def _understand(self, request: QueryRequest, scope: Scope) -> _Asked:
        _check_limits(request)
        check_size(request.conditions, [*request.fields, request.sort or ""])
        catalog = self._side(scope).catalog
        entity = _entity(catalog, request.entity)
        conditions = [parse(text) for text in request.conditions]
        entity = fixed_subtype(catalog, entity, conditions)
        comparisons = [resolve(catalog, entity, condition) for condition in conditions]
        check_cost(conditions, comparisons)
        sort = _sort(entity, request.sort)
        order = _order(sort)
        after = request.after
        return _Asked(
            entity=entity,
            conditions=conditions,
            comparisons=comparisons,
            sort=sort,
            order=order,
            behind=None if after is None else opened(self._store.seals, entity.name, order, after),
            fields=_fields(catalog, entity, request.fields),
            request=request,
        )

    def _answer(self, tx: Tx, asked: _Asked, scope: Scope) -> QueryAnswer:
        request, entity = asked.request, asked.entity
        planner = self._planner(scope)
        rare = self._rare(tx, planner, asked)
        total: int | None = None
        if request.count or request.reply_with_count:
            counted = planner.count(entity, asked.comparisons, rare, request.count_up_to)
            total = int(tx.fetch(counted.text, counted.values)[0][0] or 0)
        if request.count:
            return QueryAnswer(total=total)
        rows = self._rows(tx, planner, asked, rare)
        page, following = rows[: request.limit], None
        if len(rows) > request.limit > 0:
            _, tie, value = page[-1]
            following = sealed(self._store.seals, entity.name, asked.order, Mark(value, tie))
        shown = self._side(scope).reader.read(tx, planner, entity, [row[0] for row in page], asked.fields)
        return QueryAnswer(inventories=shown, total=total, next=following)

    def _rows(self, tx: Tx, planner: Planner, asked: _Asked, rare: Comparison | None) -> list[Row]:
        """The rows asked for and, if there is one, the first one of the next page."""
        wanted = asked.request.limit + 1 if asked.request.limit else 0
        if asked.behind is None:
            return self._page(tx, planner, asked, rare, wanted)
        rows: list[Row] = []
        for part in planner.behind(asked.entity, asked.sort, asked.behind):
            rows += self._page(tx, planner, asked, rare, wanted - len(rows), part)
            if len(rows) >= wanted:
                break
        return rows

    def _page(
        self,
        tx: Tx,
        planner: Planner,
        asked: _Asked,
        rare: Comparison | None,
        limit: int,
        behind: Fragment | None = None,
    ) -> list[Row]:
        """Rows in order: first as if a page were full soon, and whole if that takes too long."""

        def made(*, whole: bool) -> Fragment:
            start = asked.request.start
            return planner.page(
                asked.entity, asked.comparisons, rare, asked.sort, limit, start, whole=whole, behind=behind
            )

        quick = made(whole=False)
        if rare is None and planner.is_straight(asked.entity, asked.comparisons, asked.sort):
            return tx.fetch(quick.text, quick.values)
        found = tx.fetch_within(quick.text, quick.values, PATIENCE)
        if found is not None:
            return found
        page = made(whole=True)
        return tx.fetch(page.text, page.values)

    def _rare(self, tx: Tx, planner: Planner, asked: _Asked) -> Comparison | None:
        """A condition that few rows fit, if the query should begin there."""
        owning = planner.owning(asked.entity)
        comparisons = asked.comparisons if owning is None else [*asked.comparisons, owning]
        leading = [one for one in comparisons if planner.can_lead(one)]
        behind = [one for one in leading if one.hops]
        if not behind and asked.sort is None:
            return None
        for comparison in [*(one for one in leading if not one.hops), *behind]:
            probe = planner.probe(asked.entity, comparison)
            if not tx.fetch(probe.text, probe.values):
                return comparison
        return None


class _Asked(Struct, frozen=True, kw_only=True):
    """A request whose names were looked up."""

    entity: Entity
    conditions: list[Condition]
    comparisons: list[Comparison]
    sort: Sort | None
    order: str  #: `sort`, as a text
    behind: Mark | None  #: where the page before ended
    fields: tuple[str, ...]
    request: QueryRequest


def _entity(catalog: Catalog, name: str) -> Entity:
    found = catalog.find(name)
    if found is None:
        names = sorted(catalog.entities)
        raise unknown("query.unknown-entity", "entity", name, f"no entity has the name {name!r}; there are", names)
    return found


def _fields(catalog: Catalog, entity: Entity, fields: Sequence[str]) -> tuple[str, ...]:
    known = catalog.shown(entity)
    for name in fields:
        if name not in known:
            what = f"fields: {entity.name} has no field {name!r}; there are"
            raise unknown("query.unknown-field", "fields", name, what, list(known))
    return tuple(dict.fromkeys(fields))


def _check_limits(request: QueryRequest) -> None:
    if not 0 <= request.limit <= MAX_LIMIT:
        raise _bad_limit("limit", request.limit, f"0 to {MAX_LIMIT} would fit; page with start")
    if not 0 <= request.start <= MAX_START:
        raise _bad_limit("start", request.start, f"0 to {MAX_START} would fit")
    if request.start and request.after is not None:
        raise _bad_limit("start", request.start, "0 would fit: after says already where the page begins")
    if request.count_up_to is not None and not 1 <= request.count_up_to <= MAX_START:
        raise _bad_limit("countUpTo", request.count_up_to, f"1 to {MAX_START} would fit")


def _bad_limit(name: str, found: int, fits: str) -> CairnError:
    return CairnError("query.bad-limit", f"{name}: found {found}; {fits}.", fields={name: f"found {found}; {fits}"})


def _order(sort: Sort | None) -> str:
    return "" if sort is None else f"{'-' if sort[1] else '+'}{sort[0].name}"


def _sort(entity: Entity, text: str | None) -> Sort | None:
    if text is None or not text.strip():
        return None
    name = text.strip().lstrip("+-")
    sortable = {n: c for n, c in entity.columns.items() if not c.set and c.field.kind not in _UNSORTED}
    if name not in sortable:
        what = f"sort: {entity.name} cannot be sorted by {name!r}; + or - and a field fit, with the fields"
        raise unknown("query.bad-sort", "sort", name, what, list(sortable))
    return sortable[name], text.strip().startswith("-")

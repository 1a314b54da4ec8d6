"""Global configuration: settings that operators change while the cloud runs, effective at once on the node that takes the
call, and a moment later, a second at most, on all others.

A service declares a `Setting` in one of its modules, next to the code that reads it::

    PING_INTERVAL = Setting(
        "host", "ping.interval", 60, unit="s", minimum=1, maximum=3600, doc="between two pings of a host"
    )

and reads it with ``config.get(PING_INTERVAL)``, typed, from memory. Every setting is a row, so that it can be queried; a default
that a new version changes moves along unless an operator had set the value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Annotated, ClassVar, Generic, TypeVar

import structlog

from cairn.kernel.error import CairnError, ErrorKind, invalid
from cairn.kernel.invalidation import Keys
from cairn.kernel.store.record import Doc, Key, Record, TableMeta, Text, Visible
from cairn.kernel.store.store import Store, Tx

V = TypeVar("V", int, float, bool, str)
_log = structlog.get_logger("cairn.config")
#: how many characters of a wrong value are shown
_SHOWN = 100


class Setting(Generic[V]):
    """One setting.

    Args:
        category: the part of the cloud that it belongs to: ``host``.
        name: dotted: ``ping.interval``.
        default: until an operator says otherwise; its type is the setting's.
        doc: what it does, in a sentence.
        unit: of numbers: ``s``, ``bytes``, ``%``.
        minimum: the least number that is taken; every number has one.
        maximum: the greatest number that is taken; every number has one.
        choices: the texts that are taken; empty: any up to `longest`.
        longest: the most characters of a text.
        check: says what would fit if a value does not; None: any value of the type that is within the bounds does.

    Raises:
        TypeError: a number without bounds, a default that does not fit.
    """

    def __init__(
        self,
        category: str,
        name: str,
        default: V,
        *,
        doc: str,
        unit: str | None = None,
        minimum: float | None = None,
        maximum: float | None = None,
        choices: tuple[str, ...] = (),
        longest: int = 4096,
        check: Callable[[V], str | None] | None = None,
    ) -> None:
        self.category = category
        self.name = name
        #: category and name, as people write it: ``host.ping.interval``
        self.key = f"{category}.{name}"
        self.default: V = default
        self.doc = doc
        self.unit = unit
        self.minimum = minimum
        self.maximum = maximum
        self.choices = choices
        self.longest = longest
        self.check: Callable[[V], str | None] | None = check
        self._check()

    def _check(self) -> None:
        if self._is_number() and not _finite(self.minimum, self.maximum):
            raise TypeError(f"the setting {self.key} is a number: give it a minimum and a maximum that are finite")
        if not self._takes(self.default):
            raise TypeError(f"the setting {self.key} has the default {self.default!r}, but {self.fits()}")

    def parse(self, text: str) -> V:
        """The value that `text` stands for (``config.bad-value`` with what would fit)."""
        kind = type(self.default)
        try:
            value: int | float | bool | str
            value = {"true": True, "false": False}[text.lower()] if isinstance(self.default, bool) else kind(text)
        except (KeyError, ValueError):
            raise self._bad(text) from None
        if not self._takes(value):
            raise self._bad(text)
        fits = self.check(value) if self.check is not None else None
        if fits is not None:
            raise self._bad(text, fits)
        return value

    def _is_number(self) -> bool:
        return isinstance(self.default, int | float) and not isinstance(self.default, bool)

    def _takes(self, value: float | bool | str) -> bool:
        if self.choices:
            return value in self.choices
        if isinstance(value, str):
            return len(value) <= self.longest
        if isinstance(value, bool) or self.minimum is None or self.maximum is None:
            return True
        return self.minimum <= value <= self.maximum  # false for what is no number

    def fits(self) -> str:
        """The values that are taken, in words."""
        if self.choices:
            return f"one of {', '.join(self.choices)} would fit"
        if isinstance(self.default, bool):
            return "true or false would fit"
        if isinstance(self.default, str):
            return f"any text of at most {self.longest} characters would fit"
        kind = "a whole number" if isinstance(self.default, int) else "a number"
        unit = f" ({self.unit})" if self.unit else ""
        return f"{kind} from {_plain(self.minimum)} to {_plain(self.maximum)}{unit} would fit"

    def _bad(self, text: str, fits: str | None = None) -> CairnError:
        text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"
        return invalid("config.bad-value", "value", text, fits or self.fits(), f"{self.key}: {self.doc}.")


def _finite(*bounds: float | None) -> bool:
    return all(bound is not None and math.isfinite(bound) for bound in bounds)


def _plain(bound: float | None) -> str:
    """A bound as people write it: 1099511627776, 0.5."""
    assert bound is not None, "every number has bounds"
    return str(int(bound)) if bound == int(bound) else f"{bound:.15g}"


AnySetting = Setting[int] | Setting[float] | Setting[bool] | Setting[str]


class GlobalConfigRow(Record, frozen=True, kw_only=True):
    """A setting and its value."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="global_config",
        remembered=True,
        entity="GlobalConfig",
        visible=Visible.ADMIN,
        path="/global-configurations",
        unique_together=(("category", "name"),),
    )

    uuid: Annotated[str, Key()]
    category: str
    name: str
    description: Annotated[str, Text(None)]
    default_value: Annotated[str, Doc("as shipped"), Text(None)]
    value: Annotated[str, Doc("in force"), Text(None)]


def show(value: int | float | bool | str) -> str:
    """A setting's value as text."""
    return str(value).lower() if isinstance(value, bool) else str(value)


class GlobalConfig:
    """The settings of a node, in memory, with their rows in the database.

    Args:
        kept: settings that nobody declares now, and whose values stay all the same.
    """

    def __init__(
        self,
        store: Store,
        settings: Iterable[AnySetting],
        kept: Callable[[Tx], frozenset[str]] = lambda tx: frozenset(),
    ) -> None:
        self._store = store
        self._kept = kept
        self._settings: dict[str, AnySetting] = {}
        for setting in settings:
            if setting.key in self._settings:
                raise TypeError(f"the setting {setting.key} is declared twice")
            self._settings[setting.key] = setting
        self._values: dict[str, int | float | bool | str] = {}
        self._listeners: dict[str, list[Callable[[], None]]] = {}

    async def start(self) -> None:
        """Bring rows and declarations together: new settings get a row, those that are no longer declared lose theirs."""
        try:
            self._values = await self._store.write(self._sync)
        except CairnError as error:
            if error.code != "store.duplicate":
                raise
            self._values = await self._store.write(self._sync)  # another node that starts has made the rows

    def _sync(self, tx: Tx) -> dict[str, int | float | bool | str]:
        rows = {f"{row.category}.{row.name}": row for row in tx.find(GlobalConfigRow)}
        for key in rows.keys() - self._settings.keys() - self._kept(tx):
            tx.delete(GlobalConfigRow, rows[key].uuid)
        values: dict[str, int | float | bool | str] = {}
        for key, setting in self._settings.items():
            values[key] = self._sync_one(tx, setting, rows.get(key))
        return values

    def _sync_one(self, tx: Tx, setting: AnySetting, row: GlobalConfigRow | None) -> int | float | bool | str:
        default = show(setting.default)
        if row is None:
            uuid = _uuid(setting.key)
            tx.insert(
                GlobalConfigRow(
                    uuid=uuid,
                    category=setting.category,
                    name=setting.name,
                    description=_describe(setting),
                    default_value=default,
                    value=default,
                )
            )
            return setting.default
        text = default if row.value == row.default_value else row.value
        declared = {"default_value": default, "value": text, "description": _describe(setting)}
        if any(getattr(row, name) != value for name, value in declared.items()):
            tx.update(GlobalConfigRow, row.uuid, **declared)
        try:
            return setting.parse(text)
        except CairnError as error:
            _log.warning("config.value-dropped", setting=setting.key, default=default, error=str(error))
            tx.update(GlobalConfigRow, row.uuid, value=default)
            return setting.default

    def get(self, setting: Setting[V]) -> V:
        """The value in force. Before `start`: the default."""
        return self._values.get(setting.key, setting.default)  # type: ignore[return-value]

    def find(self, category: str, name: str) -> AnySetting:
        """The setting of that name (``config.not-found``, naming those of the category)."""
        setting = self._settings.get(f"{category}.{name}")
        if setting is None:
            near = sorted(key for key in self._settings if key.startswith(f"{category}.")) or sorted(
                {known.category for known in self._settings.values()}
            )
            raise CairnError(
                "config.not-found",
                f"There is no setting {category}.{name}. There are: {', '.join(near)}.",
                kind=ErrorKind.NOT_FOUND,
                fields={"name": f"found {name!r}; one of {', '.join(near)} would fit"},
            )
        return setting

    def set(self, tx: Tx, category: str, name: str, text: str) -> str:
        """Change a setting inside a transaction, and return the row's uuid. It is in force on this node once that is durable."""
        setting = self.find(category, name)
        value = setting.parse(text)
        tx.update_where(GlobalConfigRow, {"category": category, "name": name}, value=show(value))
        tx.after_commit(lambda: self._took(setting.key, value))
        return _uuid(setting.key)

    async def reread(self, keys: Keys = None) -> None:
        """Take over what another node has changed; those who listen are told. Safe to repeat."""
        for row in await self._store.read(lambda tx: tx.find(GlobalConfigRow)):
            setting = self._settings.get(f"{row.category}.{row.name}")
            if setting is None:
                continue
            try:
                value = setting.parse(row.value)
            except CairnError as error:
                _log.warning("config.value-not-taken", setting=setting.key, error=str(error))
                continue
            if value != self._values.get(setting.key):
                self._took(setting.key, value)

    def listen(self, setting: AnySetting, call: Callable[[], None]) -> None:
        """Call `call` whenever the setting was changed."""
        self._listeners.setdefault(setting.key, []).append(call)

    def _took(self, key: str, value: int | float | bool | str) -> None:
        self._values[key] = value
        for call in self._listeners.get(key, []):
            try:
                call()
            except Exception:  # noqa: BLE001 (a listener must not keep others from hearing)
                _log.exception("config.listener-failed", setting=key)


def _describe(setting: AnySetting) -> str:
    return f"{setting.doc[:1].upper()}{setting.doc[1:]}; {setting.fits()}."


def _uuid(key: str) -> str:
    """The same id for the same setting on every node."""
    return blake2b(key.encode(), digest_size=16, person=b"cairn-config").hexdigest()

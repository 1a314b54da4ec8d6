"""Tags: user tags are free texts to find things by; system tags are texts with a meaning that a plugin defines.

``hostname::web`` fits the definition ``hostname::{hostname}``. So a plugin adds facts to a resource without a change of the
schema. A system tag that fits no definition is refused with the list of those that would fit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Annotated, ClassVar

from cairn.kernel.bus.context import current
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.ids import IdSource
from cairn.kernel.store.record import Doc, Index, Key, Owner, Record, References, TableMeta, Text
from cairn.kernel.store.store import Tx


class SystemTag(Record, frozen=True, kw_only=True):
    """A tag with a meaning that a plugin defines."""

    meta: ClassVar[TableMeta] = TableMeta(table="system_tag", entity="SystemTag")

    uuid: Annotated[str, Key()]
    inherent: Annotated[bool, Doc("made by the cloud itself, and kept from removal")] = False
    resource_uuid: Annotated[str, References("resource", join="resource", on_delete="cascade")]
    resource_type: str
    tag: Annotated[str, Text(4096), Index()]
    type: str = "System"
    account_uuid: Annotated[str | None, Owner(), Index(), Doc("who hung it there")] = None
    create_date: datetime


class UserTag(Record, frozen=True, kw_only=True):
    """A text that people hang on a resource."""

    meta: ClassVar[TableMeta] = TableMeta(table="user_tag", entity="UserTag")

    uuid: Annotated[str, Key()]
    resource_uuid: Annotated[str, References("resource", join="resource", on_delete="cascade")]
    resource_type: str
    tag: Annotated[str, Text(4096), Index()]
    type: str = "User"
    account_uuid: Annotated[str | None, Owner(), Index(), Doc("who hung it there")] = None
    create_date: datetime


class TagDefinition:
    """A system tag that a plugin understands.

    Args:
        pattern: ``hostname::{hostname}``: parts joined by ``::``, names in braces stand for any text.
        entity: the kind of resource that it may hang on: ``VmInstance``.
        doc: what it does, in a sentence.
        check: says what is wrong with the parts' values, or None; by name.

    A value may hold ``::`` (an IPv6 address does) if it is the last; those before it end at the next ``::``.
    """

    def __init__(
        self,
        pattern: str,
        entity: str,
        *,
        doc: str,
        check: Callable[[dict[str, str]], str | None] | None = None,
    ) -> None:
        self.pattern = pattern
        self.entity = entity
        self.doc = doc
        self._check = check
        parts = [f"(?P<{part[1:-1]}>.+?)" if part.startswith("{") else re.escape(part) for part in pattern.split("::")]
        self._regex = re.compile("::".join(parts), re.DOTALL)
        self.prefix = pattern.split("{", 1)[0]

    def parse(self, tag: str) -> dict[str, str] | None:
        """The values of the pattern's names in `tag`; None when it does not fit."""
        found = self._regex.fullmatch(tag)
        return found.groupdict() if found else None

    def complain(self, values: dict[str, str]) -> str | None:
        """A sentence about what is wrong with these values; None if they fit."""
        return self._check(values) if self._check else None

    def render(self, **values: str) -> str:
        """The text of a tag with these values."""
        return self.pattern.format(**values)


class Tags:
    """All tag definitions of a node, and the tags of resources."""

    def __init__(self, ids: IdSource, definitions: Iterable[TagDefinition]) -> None:
        self._ids = ids
        self._definitions: dict[str, list[TagDefinition]] = {}
        for definition in definitions:
            self._definitions.setdefault(definition.entity, []).append(definition)

    def definitions(self, entity: str) -> list[TagDefinition]:
        """The definitions that fit an entity."""
        return self._definitions.get(entity, [])

    def check(self, entity: str, tags: Sequence[str]) -> None:
        """Refuse system tags that are not defined or have wrong values (``tag.unknown``, ``tag.bad-value``)."""
        for tag in tags:
            self._check_one(entity, tag)

    def _check_one(self, entity: str, tag: str) -> None:
        known = self.definitions(entity)
        bad: CairnError | None = None
        for definition in known:
            values = definition.parse(tag)
            if values is None:
                continue
            complaint = definition.complain(values)
            if complaint is None:
                return
            bad = bad or CairnError(
                "tag.bad-value",
                f"systemTags: found {tag!r}; {complaint}. It means: {definition.doc}.",
                kind=ErrorKind.INVALID,
                fields={"systemTags": f"found {tag!r}; {complaint}"},
            )
        if bad is not None:
            raise bad
        fits = ", ".join(definition.pattern for definition in known) or "none: no plugin defines one"
        raise CairnError(
            "tag.unknown",
            f"systemTags: found {tag!r}, which no plugin understands on a {entity}. Those that would fit: {fits}.",
            kind=ErrorKind.INVALID,
            fields={"systemTags": f"found {tag!r}; one of these would fit: {fits}"},
        )

    def add(
        self, tx: Tx, entity: str, resource: str, *, system: Sequence[str] = (), user: Sequence[str] = ()
    ) -> list[str]:
        """Hang tags on a resource, and return their uuids. A tag that is there already is not added again."""
        uuids: list[str] = []
        for kind, tags in ((SystemTag, system), (UserTag, user)):
            for tag in tags:
                uuids.append(self._add_one(tx, kind, entity, resource, tag))
        return uuids

    def _add_one(self, tx: Tx, kind: type[SystemTag] | type[UserTag], entity: str, resource: str, tag: str) -> str:
        there = tx.find(kind, resource_uuid=resource, tag=tag)
        if there:
            return there[0].uuid
        uuid = self._ids.new()
        row = kind(
            uuid=uuid,
            resource_uuid=resource,
            resource_type=entity,
            tag=tag,
            account_uuid=current().actor,
            create_date=tx.now,
        )
        tx.insert(row)
        return uuid

    def values(self, tx: Tx, resource: str, definition: TagDefinition) -> list[dict[str, str]]:
        """The values of all tags of `resource` that fit `definition`."""
        found = (definition.parse(row.tag) for row in tx.find(SystemTag, resource_uuid=resource))
        return [values for values in found if values is not None]

"""Tags: user tags are free texts to find things by; system tags are texts with a meaning that a plugin defines.

``hostname::web`` fits the definition ``hostname::{hostname}``. So a plugin adds facts to a resource without a change of the
schema. A system tag that fits no definition is refused with the list of those that would fit.

Of a tag that carries a secret (`TagDefinition.sealed`) only the beginning, which says what it is, lies in the database as it
is. So it can be found by its kind, and by nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Annotated, ClassVar

from cairn.kernel.bus.context import current
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.extensions import TagHook
from cairn.kernel.ids import IdSource
from cairn.kernel.store.record import Continued, Doc, Index, Key, Owner, Record, References, Sealed, TableMeta, Text
from cairn.kernel.store.store import Tx

#: characters of a tag that an error shows
_SHOWN = 80
_WORD = re.compile(r"[\w.-]*")


class SystemTag(Record, frozen=True, kw_only=True):
    """A tag with a meaning that a plugin defines."""

    meta: ClassVar[TableMeta] = TableMeta(table="system_tag", entity="SystemTag")

    uuid: Annotated[str, Key()]
    inherent: Annotated[bool, Doc("made by the cloud itself, and kept from removal")] = False
    resource_uuid: Annotated[str, References("resource", join="resource", on_delete="cascade")]
    resource_type: str
    tag: Annotated[str, Text(None), Index(), Continued("secret"), Doc("of a sealed kind, conditions see the beginning")]
    secret: Annotated[str | None, Sealed(), Text(None)] = None
    type: str = "System"
    account_uuid: Annotated[str | None, Owner(), Index(), Doc("who hung it there")] = None
    create_date: datetime

    @property
    def text(self) -> str:
        """The whole tag. It may be a secret."""
        return self.tag if self.secret is None else f"{self.tag}{self.secret}"


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
        max_bytes: the longest such tag, in bytes of UTF-8.
        total_bytes: all such tags of one resource together; None: no bound of their own.
        single: a resource has at most one such tag.
        secret: its values are shown in no error.
        sealed: its values are secrets: they are sealed where they lie, so no query finds a tag by them, and are shown in no
            error. Tags of the definition that lie there in clear are sealed at the next start.
        protected: only its plugin sets and removes it, by `Tags.put` and `Tags.remove`; calls of the API are refused.

    A value may hold ``::`` (an IPv6 address does) if it is the last; those before it end at the next ``::``.
    """

    def __init__(
        self,
        pattern: str,
        entity: str,
        *,
        doc: str,
        check: Callable[[dict[str, str]], str | None] | None = None,
        max_bytes: int = 4096,
        total_bytes: int | None = None,
        single: bool = False,
        secret: bool = False,
        sealed: bool = False,
        protected: bool = False,
    ) -> None:
        self.pattern = pattern
        self.entity = entity
        self.doc = doc
        self.total_bytes = total_bytes
        self.single = single
        self.secret = secret or sealed
        self.sealed = sealed
        self.protected = protected
        self._check = check
        self._max_bytes = max_bytes
        parts = [f"(?P<{part[1:-1]}>.+?)" if part.startswith("{") else re.escape(part) for part in pattern.split("::")]
        self._regex = re.compile("::".join(parts), re.DOTALL)
        self.prefix = pattern.split("{", 1)[0]
        if sealed and self.prefix in ("", pattern):
            raise TypeError(
                f"{pattern!r}: a sealed tag begins with what it is, and has a value: 'userdata::{{userdata}}'"
            )

    def parse(self, tag: str) -> dict[str, str] | None:
        """The values of the pattern's names in `tag`; None when it does not fit."""
        found = self._regex.fullmatch(tag)
        return found.groupdict() if found else None

    def complain(self, values: dict[str, str]) -> str | None:
        """A sentence about what is wrong with these values; None if they fit."""
        if (size := len(self.render(**values).encode(errors="replace"))) > self._max_bytes:
            return f"it is {size} bytes long, and at most {self._max_bytes} would fit"
        return self._check(values) if self._check else None

    def shown(self, tag: str) -> str:
        """A tag of this definition as an error may show it: of a secret one only what it is, of a long one the beginning."""
        return f"a tag {self.pattern}" if self.secret else repr(tag[:_SHOWN] + ("…" if len(tag) > _SHOWN else ""))

    def parts(self, tag: str) -> tuple[str, str | None]:
        """What of a tag of this definition lies in the database as it is, and what is sealed."""
        return (self.prefix, tag[len(self.prefix) :]) if self.sealed else (tag, None)

    def render(self, **values: str) -> str:
        """The text of a tag with these values."""
        return self.pattern.format(**values)


class Tags:
    """All tag definitions of a node, and the tags of resources.

    Args:
        hooks: the plugins' `TagHook` objects, which are told of every change.
    """

    def __init__(
        self,
        ids: IdSource,
        definitions: Iterable[TagDefinition],
        hooks: Callable[[], Sequence[TagHook]] = lambda: (),
    ) -> None:
        self._ids = ids
        self._hooks = hooks
        self._definitions: dict[str, list[TagDefinition]] = {}
        for definition in definitions:
            self._definitions.setdefault(definition.entity, []).append(definition)

    def definitions(self, entity: str) -> list[TagDefinition]:
        """The definitions that fit an entity."""
        return self._definitions.get(entity, [])

    def check(self, entity: str, tags: Sequence[str]) -> None:
        """Refuse system tags that are not defined, have wrong values, or do not fit together.

        Raises:
            CairnError: ``tag.unknown``, ``tag.bad-value``, ``tag.protected``, ``tag.only-one``, ``tag.too-many-bytes``.
        """
        for tag in tags:
            self._check_one(entity, tag)
        self._check_together(entity, tags)

    def check_added(self, tx: Tx, entity: str, resource: str, tag: str, instead_of: str | None = None) -> None:
        """Refuse a tag that does not fit to those that hang on a resource already.

        Args:
            instead_of: the uuid of the tag that it is to replace.

        Raises:
            CairnError: as `check` does.
        """
        there = [row.text for row in tx.find(SystemTag, resource_uuid=resource) if row.uuid != instead_of]
        self._check_one(entity, tag)
        self._check_together(entity, [tag for tag in {*there, tag} if self.definition(entity, tag) is not None])

    def definition(self, entity: str, tag: str) -> TagDefinition | None:
        """The definition that a tag on such a resource fits; None: no plugin has one."""
        return next((known for known in self.definitions(entity) if known.parse(tag) is not None), None)

    def refuse_protected(self, definition: TagDefinition, tag: str) -> None:
        """Refuse that somebody else than its plugin sets, changes or removes a tag (``tag.protected``)."""
        if definition.protected:
            shown = definition.shown(tag)
            raise CairnError(
                "tag.protected",
                f"systemTags: found {shown}, which only its plugin sets and removes. It means: {definition.doc}.",
                kind=ErrorKind.INVALID,
                fields={"systemTags": f"found {shown}; one that is not protected would fit"},
            )

    def _check_together(self, entity: str, tags: Sequence[str]) -> None:
        for known in self.definitions(entity):
            if not (known.single or known.total_bytes):
                continue
            same = {tag for tag in tags if known.parse(tag) is not None}
            if known.single and len(same) > 1:
                raise _bad_tags(
                    "tag.only-one",
                    f"found {len(same)} tags {known.pattern}",
                    "one would fit; update the one that is there",
                )
            size = sum(len(tag.encode(errors="replace")) for tag in same)
            if known.total_bytes is not None and size > known.total_bytes:
                raise _bad_tags(
                    "tag.too-many-bytes",
                    f"found {size} bytes of tags {known.pattern}",
                    f"at most {known.total_bytes} would fit on one {entity}",
                )

    def _check_one(self, entity: str, tag: str) -> None:
        known = self.definitions(entity)
        bad: CairnError | None = None
        for definition in known:
            values = definition.parse(tag)
            if values is None:
                continue
            complaint = definition.complain(values)
            if complaint is None:
                self.refuse_protected(definition, tag)
                return
            bad = bad or CairnError(
                "tag.bad-value",
                f"systemTags: found {definition.shown(tag)}; {complaint}. It means: {definition.doc}.",
                kind=ErrorKind.INVALID,
                fields={"systemTags": f"found {definition.shown(tag)}; {complaint}"},
            )
        if bad is not None:
            raise bad
        fits = ", ".join(definition.pattern for definition in known) or "none: no plugin defines one"
        shown = _beginning(tag)
        raise CairnError(
            "tag.unknown",
            f"systemTags: found {shown!r}, which no plugin understands on a {entity}. Those that would fit: {fits}.",
            kind=ErrorKind.INVALID,
            fields={"systemTags": f"found {shown!r}; one of these would fit: {fits}"},
        )

    def add(
        self, tx: Tx, entity: str, resource: str, *, system: Sequence[str] = (), user: Sequence[str] = ()
    ) -> list[str]:
        """Hang tags on a resource, and return their uuids. A tag that is there already is not added again."""
        uuids = [self._add_system(tx, entity, resource, tag) for tag in system]
        return uuids + [self._add_user(tx, entity, resource, tag) for tag in user]

    def _add_system(self, tx: Tx, entity: str, resource: str, tag: str) -> str:
        there = self.same(tx, entity, resource, tag)
        if there is not None:
            return there.uuid
        uuid = self._ids.new()
        shown, secret = self._parts(entity, tag)
        row = SystemTag(
            uuid=uuid,
            resource_uuid=resource,
            resource_type=entity,
            tag=shown,
            secret=secret,
            account_uuid=current().actor,
            create_date=tx.now,
        )
        tx.insert(row)
        self.tell(tx, entity, resource, tag)
        return uuid

    def _add_user(self, tx: Tx, entity: str, resource: str, tag: str) -> str:
        # The database compares without regard to case.
        there = next((row for row in tx.find(UserTag, resource_uuid=resource, tag=tag) if row.tag == tag), None)
        if there is not None:
            return there.uuid
        uuid = self._ids.new()
        row = UserTag(
            uuid=uuid,
            resource_uuid=resource,
            resource_type=entity,
            tag=tag,
            account_uuid=current().actor,
            create_date=tx.now,
        )
        tx.insert(row)
        return uuid

    def same(self, tx: Tx, entity: str, resource: str, tag: str) -> SystemTag | None:
        """The system tag with this very text on a resource; None: it has none."""
        shown, _ = self._parts(entity, tag)
        # The database compares without regard to case; base64 and keys differ by it.
        found = tx.find(SystemTag, resource_uuid=resource, tag=shown)
        return next((row for row in found if row.text == tag), None)

    def change(self, tx: Tx, row: SystemTag, tag: str) -> None:
        """Give a tag another text, and tell the hooks. The text has been checked (`check_added`)."""
        shown, secret = self._parts(row.resource_type, tag)
        tx.update(SystemTag, row.uuid, tag=shown, secret=secret)
        self.tell(tx, row.resource_type, row.resource_uuid, tag, before=row.text)

    def _parts(self, entity: str, tag: str) -> tuple[str, str | None]:
        definition = self.definition(entity, tag)
        return (tag, None) if definition is None else definition.parts(tag)

    def put(self, tx: Tx, resource: str, definition: TagDefinition, **values: str) -> None:
        """Set a tag with these values on a resource; of a `single` one the former goes. It may be protected."""
        tag = definition.render(**values)
        for row in self._rows(tx, resource, definition) if definition.single else ():
            if row.text != tag:
                self.change(tx, row, tag)
            return
        self.add(tx, definition.entity, resource, system=[tag])

    def remove(self, tx: Tx, resource: str, definition: TagDefinition) -> int:
        """Take all tags of a definition off a resource, protected or not. Returns how many there were. Safe to repeat."""
        rows = self._rows(tx, resource, definition)
        for row in rows:
            tx.delete(SystemTag, row.uuid)
            self.tell_removed(tx, definition.entity, resource, row.text)
        return len(rows)

    def tell(self, tx: Tx, entity: str, resource: str, tag: str, *, before: str | None = None) -> None:
        """Tell hooks that a system tag was set, or was another before. Raises what one of them refuses with."""
        definition = self.definition(entity, tag)
        for hook in self._hooks_of(definition):
            assert definition is not None
            hook.tag_set(
                tx, resource, definition.parse(tag) or {}, None if before is None else definition.parse(before)
            )

    def tell_removed(self, tx: Tx, entity: str, resource: str, tag: str) -> None:
        """Tell hooks that a system tag was taken off. Raises what one of them refuses with."""
        definition = self.definition(entity, tag)
        for hook in self._hooks_of(definition):
            assert definition is not None
            hook.tag_removed(tx, resource, definition.parse(tag) or {})

    def _hooks_of(self, definition: TagDefinition | None) -> list[TagHook]:
        return [] if definition is None else [hook for hook in self._hooks() if hook.tag is definition]

    def _rows(self, tx: Tx, resource: str, definition: TagDefinition) -> list[SystemTag]:
        return [row for row in tx.find(SystemTag, resource_uuid=resource) if definition.parse(row.text) is not None]

    def values(self, tx: Tx, resource: str, definition: TagDefinition) -> list[dict[str, str]]:
        """The values of all tags of `resource` that fit `definition`."""
        return self.values_in((row.text for row in tx.find(SystemTag, resource_uuid=resource)), definition)

    @staticmethod
    def values_in(tags: Iterable[str], definition: TagDefinition) -> list[dict[str, str]]:
        """The values of those of `tags` that fit `definition`."""
        found = (definition.parse(tag) for tag in tags)
        return [values for values in found if values is not None]


def _beginning(tag: str) -> str:
    """What a tag that nobody understands seems to be. Its value may be a secret under a name that was misspelt."""
    found = _WORD.match(tag)
    word = found.group() if found is not None else ""
    return tag[:_SHOWN] if word == tag else f"{word[:_SHOWN]}…"


def _bad_tags(code: str, what: str, fits: str) -> CairnError:
    return CairnError(
        code, f"systemTags: {what}; {fits}.", kind=ErrorKind.INVALID, fields={"systemTags": f"{what}; {fits}"}
    )

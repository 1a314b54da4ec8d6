"""The tag service: answers the API's calls about tags."""

from __future__ import annotations

from cairn.kernel.api import Reference
from cairn.kernel.bus.context import current
from cairn.kernel.bus.handlers import handles
from cairn.kernel.error import CairnError, ErrorKind, not_found
from cairn.kernel.jobs import Jobs
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import SystemTag, TagDefinition, Tags, UserTag
from cairn.services.tag.messages import CreateSystemTag, CreateUserTag, DeleteTag, UpdateSystemTag
from cairn.services.tag.ownership import Ownership


class TagService:
    """Answers the messages about tags."""

    def __init__(self, jobs: Jobs, tags: Tags, ownership: Ownership) -> None:
        self._jobs = jobs
        self._tags = tags
        self._ownership = ownership

    @handles(CreateSystemTag)
    async def create_system(self, message: CreateSystemTag) -> Reference:
        """Hang a tag with a meaning on a resource."""
        actor = current().actor

        def fn(tx: Tx) -> Reference:
            self._ownership.check(tx, message.resource_uuid, actor, message.resource_type)
            self._tags.check_added(tx, message.resource_type, message.resource_uuid, message.tag)
            (uuid,) = self._tags.add(tx, message.resource_type, message.resource_uuid, system=[message.tag])
            return Reference(uuid=uuid)

        return await self._jobs.commit(fn)

    @handles(CreateUserTag)
    async def create_user(self, message: CreateUserTag) -> Reference:
        """Hang a text on a resource."""
        actor = current().actor

        def fn(tx: Tx) -> Reference:
            self._ownership.check(tx, message.resource_uuid, actor, message.resource_type)
            (uuid,) = self._tags.add(tx, message.resource_type, message.resource_uuid, user=[message.tag])
            return Reference(uuid=uuid)

        return await self._jobs.commit(fn)

    @handles(UpdateSystemTag)
    async def update(self, message: UpdateSystemTag) -> Reference:
        """Change a system tag's value, if both tags have the same meaning."""
        actor = current().actor

        def fn(tx: Tx) -> Reference:
            row = tx.get(SystemTag, message.uuid)
            if row is None or not self._ownership.owns(tx, row.resource_uuid, actor):
                raise not_found("system-tag", "uuid", message.uuid)
            _refuse_inherent(row, "changed")
            kind = self._check_change(tx, row, message.tag)
            other = self._tags.same(tx, row.resource_type, row.resource_uuid, message.tag)
            if other is not None and other.uuid != row.uuid:
                shown = kind.shown(message.tag)
                raise CairnError(
                    "tag.there-already",
                    f"tag: the resource has {shown} already. Delete this one instead.",
                    kind=ErrorKind.CONFLICT,
                    fields={"tag": f"found {shown}; a tag that the resource does not have would fit"},
                )
            self._tags.change(tx, row, message.tag)
            return Reference(uuid=row.uuid)

        return await self._jobs.commit(fn)

    @handles(DeleteTag)
    async def delete(self, message: DeleteTag) -> None:
        """Take a tag off its resource; one that is gone, or another account's, is success: that tells nothing of it."""
        actor = current().actor

        def fn(tx: Tx) -> None:
            row = tx.get(SystemTag, message.uuid) or tx.get(UserTag, message.uuid)
            if row is None or not self._ownership.owns(tx, row.resource_uuid, actor):
                return
            if isinstance(row, SystemTag):
                _refuse_inherent(row, "deleted")
                definition = self._tags.definition(row.resource_type, row.text)
                if definition is not None:
                    self._tags.refuse_protected(definition, row.text)
            if tx.delete(type(row), row.uuid) and isinstance(row, SystemTag):
                self._tags.tell_removed(tx, row.resource_type, row.resource_uuid, row.text)

        await self._jobs.commit(fn)

    def _check_change(self, tx: Tx, row: SystemTag, tag: str) -> TagDefinition:
        """The new tag must be right, of the old one's kind, and fit to the others."""
        self._tags.check_added(tx, row.resource_type, row.resource_uuid, tag, instead_of=row.uuid)
        now, before = (self._tags.definition(row.resource_type, one) for one in (tag, row.text))
        assert now is not None, "a tag without a definition is refused above"
        if before is not None and now is not before:
            raise CairnError(
                "tag.other-kind",
                f"tag: found {now.shown(tag)}, which means something else than {before.shown(row.text)}. {before.pattern} would "
                "fit; for another meaning delete this tag and create a new one.",
                kind=ErrorKind.INVALID,
                fields={"tag": f"found {now.shown(tag)}; {before.pattern} would fit"},
            )
        return now


def _refuse_inherent(row: SystemTag, verb: str) -> None:
    if row.inherent:
        raise CairnError(
            "tag.inherent",
            f"The tag {row.tag!r} was made by the cloud itself and cannot be {verb}.",
            kind=ErrorKind.CONFLICT,
        )

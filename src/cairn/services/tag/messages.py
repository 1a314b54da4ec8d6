"""API messages about tags."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from cairn.kernel.api import (
    Access,
    ApiChange,
    ApiCommand,
    ApiDelete,
    Http,
    Reference,
    SystemTagText,
    UserTagText,
    Uuid,
    action,
    delete,
    post,
)

ResourceType = Annotated[str, Meta(min_length=1, max_length=255)]


class CreateSystemTag(ApiCommand[Reference], frozen=True, kw_only=True, tag="tag.create-system"):
    """Hang a tag with a meaning on a resource of one's own, ``hostname::web``. One that is there already stays single.

    Errors: ``tag.unknown`` (with those that would fit), ``tag.bad-value``, ``tag.unknown-resource-type``,
    ``tag.wrong-resource-type``, ``<noun>.not-found``.
    """

    route: ClassVar[str | None] = "resource_uuid"
    http: ClassVar[Http] = post("/system-tags")
    entity: ClassVar[str | None] = "SystemTag"
    access: ClassVar[Access] = Access.ACCOUNT

    resource_type: ResourceType  #: VmInstance, Host, …
    resource_uuid: Uuid  #: the resource that it hangs on
    tag: SystemTagText


class CreateUserTag(ApiCommand[Reference], frozen=True, kw_only=True, tag="tag.create-user"):
    """Hang a text on a resource of one's own, to find it by. One that is there already stays single.

    Errors: ``tag.unknown-resource-type``, ``tag.wrong-resource-type``, ``<noun>.not-found``.
    """

    route: ClassVar[str | None] = "resource_uuid"
    http: ClassVar[Http] = post("/user-tags")
    entity: ClassVar[str | None] = "UserTag"
    access: ClassVar[Access] = Access.ACCOUNT

    resource_type: ResourceType  #: VmInstance, Host, …
    resource_uuid: Uuid  #: the resource that it hangs on
    tag: UserTagText


class UpdateSystemTag(ApiChange, frozen=True, kw_only=True, tag="tag.update-system"):
    """Change a system tag's value; its meaning stays: ``hostname::web`` may become ``hostname::db``.

    Errors: ``tag.other-kind``, ``tag.bad-value``, ``tag.inherent``, ``tag.there-already``.
    """

    http: ClassVar[Http] = action("/system-tags/{uuid}/actions", "updateSystemTag")
    entity: ClassVar[str | None] = "SystemTag"
    access: ClassVar[Access] = Access.ACCOUNT

    tag: SystemTagText


class DeleteTag(ApiDelete, frozen=True, kw_only=True, tag="tag.delete"):
    """Take a tag, of either kind, off its resource.

    Errors: ``tag.inherent``.
    """

    http: ClassVar[Http] = delete("/tags/{uuid}")
    access: ClassVar[Access] = Access.ACCOUNT

    uuid: Uuid

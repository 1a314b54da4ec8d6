"""References of calls to other resources: before anything is done, these must exist and the caller may see them.

A resource exists from the moment its creation was accepted; the call then waits for the end of that (`cairn.kernel.jobs`).

A resource that exists now may be gone when the job runs, so services look again. The right to see a resource is checked here
alone, and so is the right to change it: seeing a shared resource is enough to use it, but only its owner changes it.
"""

from __future__ import annotations

from collections.abc import Sequence

from cairn.gateway.binding import ApiBinding
from cairn.gateway.problem import HttpError
from cairn.gateway.shape import Param
from cairn.kernel.api import AnyApi
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.query.engine import QueryEngine
from cairn.kernel.query.plan import Scope
from cairn.kernel.resource import is_announced, refuse_former
from cairn.kernel.store.record import RecordInfo, Visible
from cairn.kernel.store.store import Store, Tx
from cairn.kernel.words import dashed

Missing = tuple[Param, str]  # the field, and the uuid that names nothing


class References:
    """Looks up what calls refer to."""

    def __init__(self, store: Store, query: QueryEngine) -> None:
        self._store = store
        self._query = query
        self._owned = QueryEngine(store.schema, store)  # without shares: only owners see anything

    async def missing(self, binding: ApiBinding, message: AnyApi, scope: Scope) -> list[Missing]:
        """The references to resources that do not exist or that the caller may not see. One transaction looks for all.

        Raises:
            CairnError: ``auth.not-owner`` (forbidden): the call changes a resource that is only shared with its caller.
        """
        wanted = [(param, uuid) for param in binding.references for uuid in _uuids(getattr(message, param.name))]
        if not wanted:
            return []
        changed = binding.changed

        def fn(tx: Tx) -> list[Missing]:
            missing = [one for one in wanted if not self._exists(tx, str(one[0].refers), one[1], scope)]
            if scope.owner is not None and changed is not None and changed.refers is not None and not missing:
                self._check_owner(tx, changed, str(getattr(message, changed.name)), scope)
            return missing

        return await self._store.look(fn)

    async def check_new(self, message: AnyApi, scope: Scope) -> None:
        """Refuse the uuid that a caller gives to a new resource, if it was another account's (``resource.uuid-taken``)."""
        uuid = getattr(message, "resource_uuid", None)
        if uuid is not None and scope.owner is not None:
            await self._store.look(lambda tx: refuse_former(tx, uuid, scope.owner))

    def _check_owner(self, tx: Tx, changed: Param, uuid: str, scope: Scope) -> None:
        entity = str(changed.refers)
        if self._owned.inventory(tx, entity, uuid, scope) is None and not is_announced(tx, entity, uuid, scope.owner):
            raise CairnError(
                "auth.not-owner",
                f"{changed.wire}: {uuid!r} is shared with you, so you can use it; only its owner can change it.",
                kind=ErrorKind.FORBIDDEN,
                fields={changed.wire: f'found "{uuid}"; the uuid of something of yours would fit'},
            )

    def _exists(self, tx: Tx, entity: str, uuid: str, scope: Scope) -> bool:
        info = self._store.schema.by_entity.get(entity)
        if info is None:
            return False  # the plugin that has such resources is left out
        if scope.owner is not None and info.meta.visible is Visible.ADMIN:
            return False
        return self._is_there(tx, info, uuid, scope) or is_announced(tx, entity, uuid, scope.owner)

    def _is_there(self, tx: Tx, info: RecordInfo, uuid: str, scope: Scope) -> bool:
        if scope.owner is None and info.meta.extends is None:
            return tx.count(info.record, **{info.key.name: uuid}) > 0
        return self._query.inventory(tx, str(info.meta.entity), uuid, scope) is not None

    def not_found(self, binding: ApiBinding, missing: Sequence[Missing]) -> HttpError:
        """``<noun>.not-found``: 404 if the path names it, 422 if a field does. All that are missing are named."""
        in_path = [one for one in missing if one[0].wire in binding.variables]
        param, uuid = (in_path or missing)[0]
        noun, title = self._words(param)
        fields: dict[str, str] = {}
        for other, wrong in missing:
            _, fits = self._words(other)
            fields.setdefault(other.wire, f'found "{wrong}"; the uuid of an existing {fits} would fit')
        return HttpError(
            f"{noun}.not-found",
            f"{param.wire}: there is no {title} {uuid!r} that you can see. Query for the right one; it may be gone.",
            status=404 if in_path else 422,
            kind=ErrorKind.NOT_FOUND,
            fields=fields,
            details={"uuid": uuid},
        )

    def _words(self, param: Param) -> tuple[str, str]:
        """The noun and the title of what a field refers to."""
        entity = str(param.refers)
        info = self._store.schema.by_entity.get(entity)
        return (dashed(entity), dashed(entity).replace("-", " ")) if info is None else (info.noun, info.title)


def _uuids(value: object) -> Sequence[str]:
    if isinstance(value, str):
        return (value,)
    return [uuid for uuid in value if isinstance(uuid, str)] if isinstance(value, list) else ()

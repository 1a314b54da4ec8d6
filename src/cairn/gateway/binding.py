"""Binds each API message class to HTTP: worked out once per class, used for every call."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, cast

import msgspec

from cairn.gateway.shape import Param, Shape
from cairn.gateway.words import found
from cairn.kernel.api import Access, AnyApi, ApiCommand, ApiDelete, Http

TAG_KEYS: Final = ("systemTags", "userTags")
_VARIABLE: Final = re.compile(r"\{([^}]*)\}")


class ApiBinding(Shape[AnyApi]):
    """One API message class: its parameters, and how a request becomes a message.

    Args:
        cls: the class.
        collections: path of a collection -> its entity. A uuid in the path behind one of these (``/zones/{uuid}``)
            refers to that entity, whether the field says so or not: so no API forgets whose resource it changes.

    Raises:
        TypeError: the class is declared so that it could never be called; the sentence names it.
    """

    def __init__(self, cls: type[AnyApi], collections: Mapping[str, str] | None = None) -> None:
        super().__init__(cls, cls.__name__, _VARIABLE.findall(cls.http.path))
        self.cls = cls
        self.http: Http = cls.http
        self.access: Access = cls.access
        self.is_command = issubclass(cls, ApiCommand)
        self.is_delete = issubclass(cls, ApiDelete)
        self.creates = "resourceUuid" in self.params
        self.key = self.http.key or "params"
        self._infer(collections or {})
        self.references: tuple[Param, ...] = tuple(param for param in self.params.values() if param.refers is not None)
        self._check()

    def _check(self) -> None:
        where = f"{self.cls.__module__}.{self.name}"
        for variable in self.variables:
            if variable not in self.params:
                names = ", ".join(self.params) or "none"
                raise TypeError(f"{where}: {{{variable}}} of {self.http.path} names no field; its fields are: {names}")
        if self.http.verb not in ("GET", "POST", "PUT", "DELETE"):
            raise TypeError(f"{where}: its verb is {self.http.verb!r}; GET, POST, PUT and DELETE are served")
        if self.http.verb == "PUT" and self.http.key is None:
            raise TypeError(f"{where}: PUT needs a key for its body; use action(path, key)")

    def _infer(self, collections: Mapping[str, str]) -> None:
        before, *behind = self.http.path.split("/{")
        entity = collections.get(before)
        if entity is None or not behind or not self.variables[0].lower().endswith("uuid"):
            return
        param = self.params.get(self.variables[0])
        if param is not None and param.refers is None:
            self.params[param.wire] = msgspec.structs.replace(param, refers=entity)

    @property
    def changed(self) -> Param | None:
        """The field that names the resource which a command changes: the first of the path, unless it makes one."""
        if not self.is_command or self.creates or not self.variables:
            return None
        return self.params[self.variables[0]]

    @property
    def has_body(self) -> bool:
        """Whether the fields come in a body; else they are in the query string."""
        return self.http.verb in ("POST", "PUT")

    def of_body(self, body: Mapping[str, object], variables: Sequence[str]) -> AnyApi:
        """The message in a body: its fields stand under `key`, tags there or next to it, where they win.

        Raises:
            CairnError: ``api.invalid-field`` with every field that does not fit.
        """
        key = self.key
        inner = body.get(key)
        if inner is not None and not isinstance(inner, dict):
            raise self.refused({key: f"{found(inner)}; an object with the fields of {self.name} would fit"})
        values = dict(cast("dict[str, object]", inner)) if inner else {}
        wrong: dict[str, str] = {}
        for name, value in body.items():
            if name in TAG_KEYS and name in self.params:
                values[name] = value
            elif name != key:
                wrong[name] = self._beside(name)
        return self.make(values, variables, wrong=wrong)

    def _beside(self, name: str) -> str:
        if name in self.params:
            return f"found next to {self.key!r}; inside it, it would fit"
        return f"unknown; the fields of {self.name} stand in the object {self.key!r}"

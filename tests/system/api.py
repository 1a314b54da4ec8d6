"""A small client of the API, as a program of one's own would have it: plain HTTP, blocking, jobs waited for."""

from __future__ import annotations

import http.client
import json
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

T = TypeVar("T")
Inventory = dict[str, Any]
Params = Mapping[str, object]

POLL_SECONDS: Final = 0.2


class Refused(Exception):
    """A call or its job failed. `problem` is the answer's problem+json."""

    def __init__(self, problem: Inventory) -> None:
        self.problem = problem
        self.errors: list[Inventory] = []  #: the error, its cause, the cause of that
        at: Inventory | None = problem
        while at:
            self.errors.append(at)
            at = at.get("cause")
        self.codes: list[str] = [error["code"] for error in self.errors]
        self.told = " <- ".join(f"{error['detail']} {error.get('operator', '')}".strip() for error in self.errors)
        super().__init__(f"{self.codes}: {self.told}")


class Api:
    """One session with a management node.

    Args:
        port: of the node, on loopback.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._session: str | None = None

    def log_in(self, password: str, account: str = "admin") -> None:
        """Begin a session; later calls are its."""
        params = {"logInByAccount": {"accountName": account, "password": password}}
        self._session = self.send("PUT", "/accounts/login", params)["inventory"]["uuid"]

    def send(
        self, verb: str, path: str, body: Params | None = None, *, headers: dict[str, str] | None = None
    ) -> Inventory:
        """One request below ``/v1`` and its answer.

        Raises:
            Refused: any status of 400 and above.
            OSError: the node does not answer.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=330)
        try:
            sent = {"Content-Type": "application/json", **(headers or {})}
            if self._session is not None:
                sent["Authorization"] = f"OAuth {self._session}"
            connection.request(verb, f"/v1{path}", None if body is None else json.dumps(body), sent)
            answer = connection.getresponse()
            content: Inventory = json.loads(answer.read() or b"{}")
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()
        if answer.status >= 400:
            raise Refused(content)
        return content

    def submit(self, verb: str, path: str, body: Params | None = None) -> str:
        """Begin a call that changes something; returns its job's uuid."""
        job = secrets.token_hex(16)
        self.send(verb, path, body, headers={"X-Job-UUID": job})
        return job

    def job(self, job: str, *, wait_seconds: float = 0) -> Inventory:
        """How a job stands, or ends if that is within `wait_seconds`."""
        return self.send("GET", f"/api-jobs/{job}?wait={wait_seconds:g}")

    def outcome(self, job: str, *, seconds: float = 120) -> Inventory:
        """A job's result (`Refused` if it failed, `AssertionError` if it does not end)."""
        found = self.job(job, wait_seconds=seconds)
        if found.get("error"):
            raise Refused(found["error"])
        assert found["state"] == "Succeeded", found
        return _shown(found["result"])

    def call(self, verb: str, path: str, body: Params | None = None, *, seconds: float = 120) -> Inventory:
        """Do something and wait for its end; returns the resource's inventory."""
        job = secrets.token_hex(16)
        wait = {"X-Job-UUID": job, "Prefer": f"wait={seconds:g}"}
        result = self.send(verb, path, body, headers=wait)
        assert "location" not in result, f"{verb} {path}: not done within {seconds} s: {self.job(job)}"
        return _shown(result)

    def create(self, path: str, *, tags: list[str] | None = None, seconds: float = 120, **params: Any) -> Inventory:
        """Make a resource."""
        body: Params = {"params": params} if tags is None else {"params": params, "systemTags": tags}
        return self.call("POST", path, body, seconds=seconds)

    def act(self, path: str, action: str, *, seconds: float = 120, **params: Any) -> Inventory:
        """An action on a resource."""
        return self.call("PUT", f"{path}/actions", {action: params}, seconds=seconds)

    def delete(self, path: str, *, seconds: float = 120) -> None:
        """Remove a resource."""
        self.call("DELETE", path, seconds=seconds)

    def configure(self, category: str, name: str, value: object) -> None:
        """Change a setting of the global configuration."""
        self.act(f"/global-configurations/{category}/{name}", "updateGlobalConfig", value=str(value))

    def query(self, path: str, *conditions: str, **options: object) -> list[Inventory]:
        """Resources that fit all conditions."""
        text = urlencode([*(("q", condition) for condition in conditions), *options.items()])
        found: list[Inventory] = self.send("GET", f"{path}?{text}")["inventories"]
        return found

    def one(self, path: str) -> Inventory:
        """The resource at ``/zones/<uuid>``."""
        found: list[Inventory] = self.send("GET", path)["inventories"]
        return found[0]

    def console(self, vm: str) -> str:
        """What a running VM has written to its serial console."""
        found: str = self.send("GET", f"/vm-instances/{vm}/console-addresses")["consoleLog"]
        return found.replace("\r", "")


def _shown(result: Inventory) -> Inventory:
    inventory: Inventory = result.get("inventory", result)
    return inventory


def eventually(look: Callable[[], T], what: str, *, seconds: float = 60) -> T:
    """The first answer of `look` that is true; an exception of the kind that passes counts as "not yet".

    Raises:
        AssertionError: naming `what`, and what was there instead.
    """
    deadline = time.monotonic() + seconds
    while True:
        seen: object
        try:
            found = look()
        except (AssertionError, OSError, Refused) as error:
            seen = error
        else:
            if found:
                return found
            seen = found
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}; found {seen!r}"
        time.sleep(POLL_SECONDS)  # noqa: TID251 - real machines are waited for, in no event loop

"""People who use a cloud while its nodes come and go: they make VMs, wait for jobs and ask, each on one kept connection."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import cast
from urllib.parse import urlsplit

Json = dict[str, object]
_SECONDS = 60


class Users:
    """Calls that never stop. What is not answered with a status below 500 has failed, and nothing is tried again.

    Args:
        url: where the API is.
        password: of the account admin.
        vm: the fields of a VM that can be made.
    """

    def __init__(self, url: str, password: str, vm: Mapping[str, object]) -> None:
        parts = urlsplit(url)
        self._address = (str(parts.hostname), parts.port or 80)
        self._vm = dict(vm)
        self._end = threading.Event()
        self._numbers = itertools.count(1)
        self.done: Counter[str] = Counter()  #: what was asked for -> how often it was answered
        self.failed: list[str] = []
        login: Json = {"logInByAccount": {"accountName": "admin", "password": password}}
        _, answer = self._ask(self._connection(), "PUT", "/v1/accounts/login", login)
        session = str(cast("Json", answer["inventory"])["uuid"])
        self._headers = {"Authorization": f"OAuth {session}", "Content-Type": "application/json"}

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """They make calls inside of this."""
        work: list[Callable[[http.client.HTTPConnection], None]] = [
            self._look,
            self._look,
            self._make,
            self._make,
            self._connect,
        ]
        threads = [threading.Thread(target=self._run, args=(one,)) for one in work]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._end.set()
            for thread in threads:
                thread.join()

    def _run(self, work: Callable[[http.client.HTTPConnection], None]) -> None:
        connection = self._connection()
        while not self._end.is_set():
            try:
                work(connection)
            except (OSError, http.client.HTTPException, AssertionError) as error:
                self.failed.append(f"{work.__name__}: {error!r}")
                connection.close()
                self._end.wait(0.5)
        connection.close()

    def _look(self, connection: http.client.HTTPConnection) -> None:
        status, answer = self._ask(connection, "GET", "/v1/vm-instances?limit=5")
        assert status == 200, (status, answer)
        self.done["look"] += 1
        self._end.wait(0.01)

    def _connect(self, connection: http.client.HTTPConnection) -> None:
        status, answer = self._ask(connection, "GET", "/v1/zones", headers={"Connection": "close"})
        assert status == 200, (status, answer)
        self.done["connect"] += 1
        self._end.wait(0.02)

    def _make(self, connection: http.client.HTTPConnection) -> None:
        """A VM, from its creation to its end, each step by a long poll."""
        params = {**self._vm, "name": f"user-{next(self._numbers)}", "resourceUuid": uuid.uuid4().hex}
        vm = f"/v1/vm-instances/{params['resourceUuid']}"
        self._job(connection, "POST", "/v1/vm-instances", {"params": params})
        self._job(connection, "DELETE", vm)
        self._job(connection, "PUT", f"{vm}/actions", {"expungeVmInstance": {}})
        self.done["vm"] += 1

    def _job(self, connection: http.client.HTTPConnection, verb: str, path: str, body: Json | None = None) -> None:
        job = uuid.uuid4().hex
        status, answer = self._ask(connection, verb, path, body, {"X-Job-UUID": job})
        assert status in (200, 202), (verb, path, status, answer)
        state = ""
        while state not in ("Succeeded", "Failed"):
            status, answer = self._ask(connection, "GET", f"/v1/api-jobs/{job}?wait=10")
            assert status == 200, (verb, path, status, answer)
            state = str(answer["state"])
        assert state == "Succeeded", answer

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(*self._address, timeout=_SECONDS)

    def _ask(
        self,
        connection: http.client.HTTPConnection,
        verb: str,
        path: str,
        body: Json | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Json]:
        known = getattr(self, "_headers", {"Content-Type": "application/json"})
        raw = None if body is None else json.dumps(body)
        connection.request(verb, path, raw, {**known, **(headers or {})})
        answer = connection.getresponse()
        text = answer.read()
        try:
            return answer.status, cast("Json", json.loads(text or b"{}"))
        except ValueError:
            return answer.status, {"text": text.decode(errors="replace")[:200]}

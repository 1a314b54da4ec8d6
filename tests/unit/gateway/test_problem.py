from __future__ import annotations

import msgspec
import pytest

from cairn.gateway.problem import STATUS, HttpError, problem, status_of
from cairn.kernel.error import CairnError, ErrorKind


def test_every_kind_has_a_status() -> None:
    assert STATUS.keys() == {*ErrorKind}


@pytest.mark.parametrize("kind", [*ErrorKind])
def test_status_follows_from_the_kind(kind: ErrorKind) -> None:
    error = CairnError("vm.wrong-state", "It runs. Stop it.", kind=kind)

    assert status_of(error) == STATUS[kind] == problem(error.record()).status
    assert status_of(HttpError("vm.wrong-state", "It runs.", status=418, kind=kind)) == 418


def test_problem_tells_all_that_the_error_knows() -> None:
    cause = CairnError("host.gone", "The host is gone.", kind=ErrorKind.UNAVAILABLE)
    error = CairnError(
        "vm.not-started",
        "It was not started.",
        kind=ErrorKind.CONFLICT,
        fields={"uuid": "found x; y would fit"},
        details={"host": "h1"},
        cause=cause,
    )

    assert msgspec.to_builtins(problem(error.record(), job="j1")) == {
        "type": "urn:cairn:error:vm.not-started",
        "title": "VM not started",
        "status": 409,
        "detail": "It was not started.",
        "code": "vm.not-started",
        "kind": "conflict",
        "fields": {"uuid": "found x; y would fit"},
        "details": {"host": "h1"},
        "cause": {
            "type": "urn:cairn:error:host.gone",
            "title": "Host gone",
            "status": 503,
            "detail": "The host is gone.",
            "code": "host.gone",
            "kind": "unavailable",
        },
        "job": "j1",
    }


def test_only_administrators_are_told_what_is_for_operators() -> None:
    cause = CairnError("host.gone", "The host is gone.", operator="host-1 at 10.0.0.1")
    error = CairnError("vm.not-started", "It was not started.", cause=cause, operator="host-1 was chosen")

    told = problem(error.record(), to_admin=True)

    assert (told.operator, told.cause and told.cause.operator) == ("host-1 was chosen", "host-1 at 10.0.0.1")
    assert b"host-1" not in msgspec.json.encode(problem(error.record()))

from __future__ import annotations

import pytest

from cairn.cli.errors import CliError, Exit, not_logged_in, refused, unfinished, unreachable, usage


@pytest.mark.parametrize(
    ("error", "exit_code", "code"),
    [
        (usage("No."), Exit.USAGE, "cli.usage"),
        (usage("No.", code="cli.ambiguous", fields={"name": "two"}), Exit.USAGE, "cli.ambiguous"),
        (refused("No.", code="cli.no"), Exit.REFUSED, "cli.no"),
        (unreachable("http://node", "refused"), Exit.UNREACHABLE, "cli.unreachable"),
        (not_logged_in("http://node", "No session."), Exit.UNREACHABLE, "cli.not-logged-in"),
        (unfinished("job", "Stopped."), Exit.UNFINISHED, "cli.unfinished"),
    ],
)
def test_every_end_has_an_exit_code_for_scripts_and_a_code_for_people(
    error: CliError, exit_code: Exit, code: str
) -> None:
    assert (error.exit_code, error.problem.code) == (exit_code, code)
    assert str(error) == error.problem.detail != ""


def test_exit_codes_differ_and_only_success_is_zero() -> None:
    assert [code.value for code in Exit] == [0, 1, 2, 3, 4, 130]


def test_errors_say_what_to_do_next() -> None:
    assert "cairn --url http://node login" in not_logged_in("http://node", "No session.").problem.detail
    told = unfinished("j1", "Stopped.").problem
    assert told.job == "j1"
    assert "cairn job j1 --follow" in told.detail
    assert "cairn cancel j1" in told.detail
    assert "CAIRN_URL" in unreachable("http://node", "refused").problem.detail

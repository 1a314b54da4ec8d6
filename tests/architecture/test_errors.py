"""Every error has a code that is written down, and the page that lists them is fresh."""

from __future__ import annotations

import re

from tools import list_errors

RAISED = list_errors.collect()
CODES = [one.code for one in RAISED]


def test_list_of_errors_is_fresh() -> None:
    fresh = list_errors.page(RAISED)
    assert list_errors.TARGET.read_text() == fresh, "run: python tools/list_errors.py"


def test_codes_are_a_noun_and_what_is_wrong() -> None:
    assert [code for code in CODES if not re.fullmatch(r"[a-z][a-z0-9-]*\.[a-z][a-z0-9-]*", code)] == []


def test_errors_that_everybody_meets_are_found() -> None:
    assert {"vm.wrong-state", "host.none-fits", "api.invalid-field", "agent.no-space", "zone.not-found"} <= set(CODES)

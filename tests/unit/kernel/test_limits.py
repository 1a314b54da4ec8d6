from __future__ import annotations

from cairn.bootstrap import load_plugins
from cairn.kernel.api import ApiCommand
from cairn.kernel.limits import CONNECT, call_limit
from cairn.kernel.settings import load


def test_limit_of_a_kind_of_call_is_two_settings_that_say_what_they_are() -> None:
    limit = call_limit("thing", "fetch", "things being fetched", in_all=3, of_account=2)

    assert [(setting.key, setting.default, setting.doc) for setting in limit] == [
        ("thing.fetch.parallelism", 3, "things being fetched at a time"),
        ("thing.fetch.parallelism.account", 2, "things being fetched at a time for one account"),
    ]
    assert all(setting.minimum == 1 for setting in limit)


def test_settings_of_all_limits_are_found_where_they_are_declared() -> None:
    loaded = load_plugins(load({}))
    limits = {api.limit for api in loaded.api if issubclass(api, ApiCommand) and api.limit is not None}

    assert CONNECT in limits
    assert len(limits) > 1
    assert {setting for limit in limits for setting in limit} <= set(loaded.settings)

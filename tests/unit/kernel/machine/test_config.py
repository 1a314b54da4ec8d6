from __future__ import annotations

from cairn.kernel.config import Setting
from cairn.kernel.machine.config import machine_settings


def test_the_settings_of_a_kind_are_named_by_its_category_and_told_in_its_words() -> None:
    settings = machine_settings("backupStorage", "backup storage", ping_parallelism=50)

    assert all(isinstance(setting, Setting) for setting in settings)
    assert [setting.key for setting in settings] == [
        f"backupStorage.{name}"
        for name in (
            "parallelism",
            "command.timeout",
            "ping.interval",
            "ping.timeout",
            "ping.maxFailure",
            "ping.parallelismDegree",
            "connection.autoReconnectOnError",
            "reconnect.maxInterval",
            "reconnect.parallelismDegree",
            "agent.upgrade.parallelismDegree",
        )
    ]
    assert settings.ping_parallelism.default == 50
    assert settings.auto_reconnect.doc == "whether lost backup storages are reconnected"

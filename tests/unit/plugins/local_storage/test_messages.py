from __future__ import annotations

import pytest

from cairn.kernel.error import CairnError
from cairn.plugins.local_storage.messages import checked_path


@pytest.mark.parametrize(
    ("url", "path"), [("/data", "/data"), ("/var/lib/x/", "/var/lib/x"), ("/etcetera", "/etcetera")]
)
def test_folder_outside_of_the_system_is_taken_without_its_last_slash(url: str, path: str) -> None:
    assert checked_path(url) == path


@pytest.mark.parametrize("url", ["/", "/etc", "/etc/x", "/proc/1", "/data/../etc", "/root/disks", "/usr/share"])
def test_system_folder_is_refused_with_what_would_fit(url: str) -> None:
    with pytest.raises(CairnError, match="absolute path outside") as caught:
        checked_path(url)
    assert caught.value.code == "local-storage.bad-path"
    assert "url" in caught.value.fields

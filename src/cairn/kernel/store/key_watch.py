"""Has a node that runs know the keys that are added to its key file: another node may seal with a new one already."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import structlog

from cairn.kernel.error import CairnError
from cairn.kernel.store.seal import Seals
from cairn.kernel.store.sealing import keys_in

LOOK_SECONDS: Final = 5.0
_log = structlog.get_logger("cairn.store")


class KeyWatch:
    """Looks at the key file while the node runs.

    New keys open values from then on. Which key seals changes when the node is started again, and not before: by then all
    nodes can have the file.

    Args:
        file: of the keys.
        seals: in use.
    """

    def __init__(self, file: Path, seals: Seals) -> None:
        self._file = file
        self._seals = seals
        self._seen = self._stamp()

    def look(self) -> int:
        """Learn the keys that were added since the last look, and return how many. One look at the file's date otherwise.

        A file that is gone or damaged changes nothing: the node has the keys that it was started with.
        """
        stamp = self._stamp()
        if stamp == self._seen:
            return 0
        self._seen = stamp
        try:
            found = keys_in(self._file)
        except CairnError as error:
            _log.error("secret.key-file-changed", file=str(self._file), error=str(error))
            return 0
        new = self._seals.learn(found)
        if new:
            _log.info("secret.keys-learned", keys=new)
        return len(new)

    def _stamp(self) -> tuple[int, int]:
        try:
            found = self._file.stat()
        except OSError:
            return 0, 0
        return found.st_mtime_ns, found.st_ino

"""Runs that were left half done are in the queue of their host or backup storage, which has its noun's name now."""

from __future__ import annotations

from alembic import op

revision = "cairn_0016"
down_revision = "cairn_0014"
branch_labels = None
depends_on = None

_NAMES = (("host-connect:", "host:"), ("backup-storage-connect:", "backup-storage:"))


def upgrade() -> None:
    """Go forward."""
    for former, name in _NAMES:
        _rename(former, name)


def downgrade() -> None:
    """Go back."""
    for former, name in _NAMES:
        _rename(name, former)


def _rename(former: str, name: str) -> None:
    """Have the keys that begin with `former` begin with `name`."""
    op.execute(
        f"UPDATE flow_run SET queue_key = '{name}' || substr(queue_key, {len(former) + 1}) "  # noqa: S608 (names from above)
        f"WHERE substr(queue_key, 1, {len(former)}) = '{former}'"
    )

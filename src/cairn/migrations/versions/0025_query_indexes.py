"""Runs are found by the queue they stand in, machines by their status."""

from __future__ import annotations

from alembic import op

revision = "cairn_0025"
down_revision = "cairn_0024"
branch_labels = None
depends_on = None

_INDEXES = (("flow_run", "queue_key"), ("host", "status"), ("backup_storage", "status"))


def upgrade() -> None:
    """Go forward."""
    for table, column in _INDEXES:
        op.create_index(f"ix_{table}_{column}", table, [column], unique=False)


def downgrade() -> None:
    """Go back."""
    for table, column in reversed(_INDEXES):
        op.drop_index(f"ix_{table}_{column}", table_name=table)

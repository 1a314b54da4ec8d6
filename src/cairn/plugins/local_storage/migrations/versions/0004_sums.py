"""What of a host's share is in the sums of its storage."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cairn.kernel.store import types

revision = "local_storage_0004"
down_revision = "local_storage_0003"
branch_labels = None
depends_on = None

_TABLE = "local_storage_host_ref"
_COLUMNS = (
    "summed_total_capacity",
    "summed_available_capacity",
    "summed_total_physical_capacity",
    "summed_available_physical_capacity",
)


def upgrade() -> None:
    """Go forward. All is summed up when a node starts."""
    for name in _COLUMNS:
        op.add_column(_TABLE, sa.Column(name, types.Whole(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Go back."""
    for name in _COLUMNS:
        op.drop_column(_TABLE, name)

"""What of a host's share is in the sums of its storage; hosts are found by their space."""

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
_INDEX = "ix_local_storage_host_ref_primary_storage_uuid_available_capacity_host_uuid"


def upgrade() -> None:
    """Go forward. All is summed up when a node starts."""
    for name in _COLUMNS:
        op.add_column(_TABLE, sa.Column(name, types.Whole(), nullable=False, server_default="0"))
    op.create_index(_INDEX, _TABLE, ["primary_storage_uuid", "available_capacity", "host_uuid"])


def downgrade() -> None:
    """Go back."""
    op.drop_index(_INDEX, _TABLE)
    for name in _COLUMNS:
        op.drop_column(_TABLE, name)

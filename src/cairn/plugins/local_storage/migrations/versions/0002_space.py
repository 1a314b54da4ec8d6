"""Space: hosts' disks are known by their file systems, and what is booked on them stands by itself."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cairn.kernel.store import types

revision = "local_storage_0002"
down_revision = "local_storage_0001"
branch_labels = None
depends_on = None

_TABLE = "local_storage_host_ref"


def upgrade() -> None:
    """Go forward. A disk counts for one storage until its host's next connect tells which file system it is."""
    op.add_column(_TABLE, sa.Column("file_system", types.Name(255), nullable=False, server_default=""))
    op.add_column(_TABLE, sa.Column("level", types.Choice(), nullable=False, server_default="Ok"))
    op.add_column(_TABLE, sa.Column("booked_capacity", types.Whole(), nullable=False, server_default="0"))
    op.add_column(_TABLE, sa.Column("system_used_capacity", types.Whole(), nullable=False, server_default="0"))
    op.execute(
        f"UPDATE {_TABLE} SET file_system = primary_storage_uuid, "  # noqa: S608 (made of the name above)
        "booked_capacity = total_capacity - available_capacity"
    )


def downgrade() -> None:
    """Go back."""
    for name in ("system_used_capacity", "booked_capacity", "level", "file_system"):
        op.drop_column(_TABLE, name)

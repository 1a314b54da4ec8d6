"""First tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cairn.kernel.store import types

revision = "simulator_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "simulator_backup_storage",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("agent_url", types.Name(2048), nullable=False),
        sa.ForeignKeyConstraint(
            ["uuid"], ["backup_storage.uuid"], name=op.f("fk_simulator_backup_storage_uuid"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_simulator_backup_storage")),
        sqlite_strict=True,
    )
    op.create_table(
        "simulator_host",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("url", types.Name(2048), nullable=False),
        sa.ForeignKeyConstraint(["uuid"], ["host.uuid"], name=op.f("fk_simulator_host_uuid"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_simulator_host")),
        sqlite_strict=True,
    )


def downgrade() -> None:
    """Go back."""
    op.drop_table("simulator_host")
    op.drop_table("simulator_backup_storage")

"""What machines are, and which agents they have."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cairn.kernel.store import types

revision = "cairn_0008"
down_revision = "cairn_0007"
branch_labels = None
depends_on = None

_TABLES = ("backup_storage", "host")


def upgrade() -> None:
    """Go forward."""
    for table in _TABLES:
        op.add_column(table, sa.Column("agent_version", types.Name(255), nullable=False, server_default=""))
        op.add_column(table, sa.Column("agent_protocol", types.Whole(), nullable=False, server_default="0"))
        op.add_column(table, sa.Column("agent_warning", types.Name(2048), nullable=True))
        op.add_column(table, sa.Column("machine_identity", types.Name(255), nullable=True))
        op.create_index(f"ix_{table}_machine_identity", table, ["machine_identity"], unique=True)


def downgrade() -> None:
    """Go back."""
    for table in _TABLES:
        op.drop_index(f"ix_{table}_machine_identity", table)
        for column in ("machine_identity", "agent_warning", "agent_protocol", "agent_version"):
            op.drop_column(table, column)

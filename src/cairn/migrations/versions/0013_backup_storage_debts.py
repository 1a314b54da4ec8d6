"""Files that backup storage owes the removal of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cairn.kernel.store import types

revision = "cairn_0013"
down_revision = "cairn_0012"
branch_labels = None
depends_on = None

_TABLE = "backup_storage_debt"


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        _TABLE,
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("backup_storage_uuid", types.Id(), nullable=False),
        sa.Column("backup_storage_name", types.Name(255), nullable=False),
        sa.Column("machine_identity", types.Name(255), nullable=True),
        sa.Column("path", types.Name(2048), nullable=False),
        sa.Column("reason", types.Name(2048), nullable=False),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_backup_storage_debt")),
        sa.UniqueConstraint(
            "backup_storage_uuid", "path", name=op.f("uq_backup_storage_debt_backup_storage_uuid_path")
        ),
        sqlite_strict=True,
    )
    with op.batch_alter_table(_TABLE, schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_backup_storage_debt_backup_storage_uuid"), ["backup_storage_uuid"])
        batch_op.create_index(batch_op.f("ix_backup_storage_debt_machine_identity"), ["machine_identity"])


def downgrade() -> None:
    """Go back."""
    op.drop_table(_TABLE)

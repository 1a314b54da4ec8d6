"""Seals."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cairn.kernel.store import types

revision = "cairn_audit_0002"
down_revision = "cairn_audit_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "audit_seal",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("vm_instance_uuid", types.Id(), nullable=False),
        sa.Column("host_uuid", types.Id(), nullable=False),
        sa.Column("number", types.Name(255), nullable=False),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["vm_instance_uuid"], ["vm_instance.uuid"], name=op.f("fk_audit_seal_vm_instance_uuid"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_audit_seal")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("audit_seal", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_audit_seal_vm_instance_uuid"), ["vm_instance_uuid"], unique=True)


def downgrade() -> None:
    """Go back."""
    with op.batch_alter_table("audit_seal", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_audit_seal_vm_instance_uuid"))

    op.drop_table("audit_seal")

"""First tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cairn.kernel.store import types

revision = "cairn_audit_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "audit_note",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("name", types.Name(255), nullable=False),
        sa.Column("description", types.Name(2048), nullable=True),
        sa.Column("vm_instance_uuid", types.Id(), nullable=True),
        sa.Column("account_uuid", types.Id(), nullable=True),
        sa.Column("ticket", types.Name(255), nullable=True),
        sa.Column("text", types.Name(2048), nullable=False),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.Column("last_op_date", types.Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["vm_instance_uuid"], ["vm_instance.uuid"], name=op.f("fk_audit_note_vm_instance_uuid"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_audit_note")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("audit_note", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_audit_note_account_uuid"), ["account_uuid"], unique=False)
        batch_op.create_index(batch_op.f("ix_audit_note_name"), ["name"], unique=False)
        batch_op.create_index(batch_op.f("ix_audit_note_vm_instance_uuid"), ["vm_instance_uuid"], unique=False)


def downgrade() -> None:
    """Go back."""
    with op.batch_alter_table("audit_note", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_audit_note_vm_instance_uuid"))
        batch_op.drop_index(batch_op.f("ix_audit_note_name"))
        batch_op.drop_index(batch_op.f("ix_audit_note_account_uuid"))

    op.drop_table("audit_note")

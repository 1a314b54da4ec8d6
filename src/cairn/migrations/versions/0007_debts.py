"""What hosts owe, which parts of them are not in line, and which claims are of VMs that are to run."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cairn.kernel.store import types

revision = "cairn_0007"
down_revision = "cairn_0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "host_debt",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("host_uuid", types.Id(), nullable=False),
        sa.Column("host_name", types.Name(255), nullable=False),
        sa.Column("management_ip", types.Name(255), nullable=False),
        sa.Column("kind", types.Name(255), nullable=False),
        sa.Column("what", types.Name(2048), nullable=False),
        sa.Column("reason", types.Name(2048), nullable=False),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_host_debt")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("host_debt", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_host_debt_host_uuid"), ["host_uuid"], unique=False)
    op.create_table(
        "host_fault",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("host_uuid", types.Id(), nullable=False),
        sa.Column("kind", types.Name(255), nullable=False),
        sa.Column("subject", types.Name(255), nullable=False),
        sa.Column("reason", types.Name(2048), nullable=False),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.ForeignKeyConstraint(["host_uuid"], ["host.uuid"], name=op.f("fk_host_fault_host_uuid"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_host_fault")),
        sa.UniqueConstraint("host_uuid", "kind", "subject", name=op.f("uq_host_fault_host_uuid_kind_subject")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("host_fault", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_host_fault_host_uuid"), ["host_uuid"], unique=False)
    with op.batch_alter_table("host_claim", schema=None) as batch_op:
        batch_op.add_column(sa.Column("starts", types.Flag(), nullable=False, server_default="1"))
    with op.batch_alter_table("host_claim", schema=None) as batch_op:
        batch_op.alter_column("starts", server_default=None)


def downgrade() -> None:
    """Go back."""
    with op.batch_alter_table("host_claim", schema=None) as batch_op:
        batch_op.drop_column("starts")
    op.drop_table("host_fault")
    op.drop_table("host_debt")

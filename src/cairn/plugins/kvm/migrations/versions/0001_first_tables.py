"""First tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cairn.kernel.store import types

revision = "kvm_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "kvm_host",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("username", types.Name(255), nullable=False),
        sa.Column("password", types.Name(1024), nullable=True),
        sa.Column("private_key", types.Name(None), nullable=True),
        sa.Column("ssh_port", types.Whole(), nullable=False),
        sa.ForeignKeyConstraint(["uuid"], ["host.uuid"], name=op.f("fk_kvm_host_uuid"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_kvm_host")),
        sqlite_strict=True,
    )


def downgrade() -> None:
    """Go back."""
    op.drop_table("kvm_host")

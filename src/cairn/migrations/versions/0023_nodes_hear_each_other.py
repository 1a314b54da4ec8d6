"""Nodes hear what others have changed, and each durable subscriber is told by one of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cairn.kernel.store import types

revision = "cairn_0023"
down_revision = "cairn_0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "commit_sequence",
        sa.Column("name", types.Id(), nullable=False),
        sa.Column("value", types.Whole(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_commit_sequence")),
        sqlite_strict=True,
    )
    op.create_table(
        "invalidation",
        sa.Column("sequence", types.Whole(), autoincrement=True, nullable=False),
        sa.Column("table_name", types.Name(64, exact=True), nullable=False),
        sa.Column("row_id", types.Name(255, exact=True), nullable=True),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_invalidation")),
        sqlite_strict=True,
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("invalidation", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_invalidation_create_date"), ["create_date"], unique=False)
    with op.batch_alter_table("event_cursor", schema=None) as batch_op:
        batch_op.add_column(sa.Column("node_uuid", types.Id(), nullable=True))
        batch_op.add_column(sa.Column("epoch", types.Whole(), nullable=False, server_default="0"))
    with op.batch_alter_table("event_cursor", schema=None) as batch_op:
        batch_op.alter_column("epoch", existing_type=types.Whole(), existing_nullable=False, server_default=None)


def downgrade() -> None:
    """Go back."""
    with op.batch_alter_table("event_cursor", schema=None) as batch_op:
        batch_op.drop_column("epoch")
        batch_op.drop_column("node_uuid")
    op.drop_table("invalidation")
    op.drop_table("commit_sequence")

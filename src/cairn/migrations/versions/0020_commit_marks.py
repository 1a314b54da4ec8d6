"""By which a commit whose answer was lost is looked for, where the database is on a server."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cairn.kernel.store import types

revision = "cairn_0020"
down_revision = "cairn_0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "commit_mark",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("number", types.Whole(), nullable=False),
        sa.Column("marked_seconds", types.Whole(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_commit_mark")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("commit_mark", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_commit_mark_marked_seconds"), ["marked_seconds"], unique=False)


def downgrade() -> None:
    """Go back."""
    op.drop_table("commit_mark")

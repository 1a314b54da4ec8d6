"""Mutexes for rules about rows that are not there yet."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cairn.kernel.store import types

revision = "cairn_0021"
down_revision = "cairn_0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "mutex",
        sa.Column("name", types.Id(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_mutex")),
        sqlite_strict=True,
    )


def downgrade() -> None:
    """Go back."""
    op.drop_table("mutex")

"""Which key the secrets of each column are sealed with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cairn.kernel.store import types

revision = "cairn_0012"
down_revision = "cairn_0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "sealed_column",
        sa.Column("name", types.Id(), nullable=False),
        sa.Column("seal_key", types.Name(255), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_sealed_column")),
        sqlite_strict=True,
    )


def downgrade() -> None:
    """Go back."""
    op.drop_table("sealed_column")

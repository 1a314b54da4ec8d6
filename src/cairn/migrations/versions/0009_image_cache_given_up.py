"""Cached images that are given up while their host cannot be reached."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cairn.kernel.store import types

revision = "cairn_0009"
down_revision = "cairn_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward. The column is added in place: a table that is made anew loses how its texts are compared."""
    op.add_column("image_cache", sa.Column("given_up", types.Flag(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Go back."""
    op.drop_column("image_cache", "given_up")

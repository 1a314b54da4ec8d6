"""Cached images that are given up while their host cannot be reached; the memory that hosts have."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cairn.kernel.store import types

revision = "cairn_0009"
down_revision = "cairn_0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward. Columns are added in place: a table that is made anew loses how its texts are compared.

    What memory a host has is known from its next connect on; until then settings leave its capacity as it is.
    """
    op.add_column("image_cache", sa.Column("given_up", types.Flag(), nullable=False, server_default="0"))
    op.add_column("host", sa.Column("memory_bytes", types.Whole(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Go back."""
    op.drop_column("host", "memory_bytes")
    op.drop_column("image_cache", "given_up")

"""What plugins have in the database, so that it can be removed when they are gone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cairn.kernel.store import types

revision = "cairn_0011"
down_revision = "cairn_0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "plugin_trace",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("plugin", types.Name(255), nullable=False),
        sa.Column("kind", types.Choice(), nullable=False),
        sa.Column("name", types.Name(4096, exact=True), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_plugin_trace")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("plugin_trace", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_plugin_trace_plugin"), ["plugin"], unique=False)


def downgrade() -> None:
    """Go back."""
    op.drop_table("plugin_trace")

"""Nodes tell of their plugins and of what they install agents from; empty of those of the version before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cairn.kernel.store import types

revision = "cairn_0031"
down_revision = "cairn_0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    with op.batch_alter_table("management_node", schema=None) as batch_op:
        batch_op.add_column(sa.Column("plugins", types.Json(), nullable=True))
        batch_op.add_column(sa.Column("wheels", types.Name(), nullable=True))


def downgrade() -> None:
    """Go back."""
    with op.batch_alter_table("management_node", schema=None) as batch_op:
        batch_op.drop_column("wheels")
        batch_op.drop_column("plugins")

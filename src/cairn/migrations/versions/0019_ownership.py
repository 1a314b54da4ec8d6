"""Jobs and runs say which node works on them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cairn.kernel.store import types

revision = "cairn_0019"
down_revision = "cairn_0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.add_column("job", sa.Column("node_uuid", types.Id(), nullable=False, server_default=""))
    op.add_column("job", sa.Column("epoch", types.Whole(), nullable=False, server_default=sa.text("0")))
    op.add_column("job", sa.Column("ring_key", types.Name(255), nullable=False, server_default=""))
    op.add_column("flow_run", sa.Column("node_uuid", types.Id(), nullable=False, server_default=""))
    op.execute("UPDATE job SET ring_key = uuid")


def downgrade() -> None:
    """Go back."""
    with op.batch_alter_table("flow_run", schema=None) as batch_op:
        batch_op.drop_column("node_uuid")
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.drop_column("ring_key")
        batch_op.drop_column("epoch")
        batch_op.drop_column("node_uuid")

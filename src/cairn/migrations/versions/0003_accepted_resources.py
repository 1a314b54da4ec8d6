"""A resource knows the job that made it: its row is there from the moment the job was accepted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cairn.kernel.store import types

revision = "cairn_0003"
down_revision = "cairn_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.add_column("resource", sa.Column("job_uuid", types.Id(), nullable=True))


def downgrade() -> None:
    """Go back."""
    with op.batch_alter_table("resource") as table:
        table.drop_column("job_uuid")

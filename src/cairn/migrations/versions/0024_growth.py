"""Changes to the hosts of clusters are counted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cairn.kernel.store import types

revision = "cairn_0024"
down_revision = "cairn_0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "host_changes",
        sa.Column("cluster_uuid", types.Id(), nullable=False),
        sa.Column("number", types.Whole(), nullable=False),
        sa.ForeignKeyConstraint(
            ["cluster_uuid"], ["cluster.uuid"], name=op.f("fk_host_changes_cluster_uuid"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("cluster_uuid", name=op.f("pk_host_changes")),
        sqlite_strict=True,
    )


def downgrade() -> None:
    """Go back."""
    op.drop_table("host_changes")

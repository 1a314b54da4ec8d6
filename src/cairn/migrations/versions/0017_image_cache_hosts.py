"""Cached images are found by their host."""

from __future__ import annotations

from alembic import op

revision = "cairn_0017"
down_revision = "cairn_0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    with op.batch_alter_table("image_cache", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_image_cache_host_uuid"), ["host_uuid"], unique=False)


def downgrade() -> None:
    """Go back."""
    with op.batch_alter_table("image_cache", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_image_cache_host_uuid"))

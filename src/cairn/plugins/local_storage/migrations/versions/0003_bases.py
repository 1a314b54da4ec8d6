"""Volumes know which image's cache they are based on, also when the image is gone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cairn.kernel.store import types

revision = "local_storage_0003"
down_revision = "local_storage_0002"
branch_labels = None
depends_on = None

_TABLE = "local_storage_resource_ref"


def upgrade() -> None:
    """Go forward. Where the image is gone already it stays unknown, and the disk keeps all its caches."""
    op.add_column(_TABLE, sa.Column("image_uuid", types.Id(), nullable=True))
    op.execute(
        f"UPDATE {_TABLE} SET image_uuid = "  # noqa: S608 (made of the name above)
        f"(SELECT root_image_uuid FROM volume WHERE volume.uuid = {_TABLE}.resource_uuid)"
    )


def downgrade() -> None:
    """Go back."""
    op.drop_column(_TABLE, "image_uuid")

"""The SSH host key that is pinned is told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cairn.kernel.store import types

revision = "backup_server_0002"
down_revision = "backup_server_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.add_column("sftp_backup_storage", sa.Column("host_key_fingerprint", types.Name(255), nullable=True))


def downgrade() -> None:
    """Go back."""
    op.drop_column("sftp_backup_storage", "host_key_fingerprint")

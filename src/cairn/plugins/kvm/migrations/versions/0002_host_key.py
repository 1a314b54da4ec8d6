"""The SSH host key that is pinned is told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cairn.kernel.store import types

revision = "kvm_0002"
down_revision = "kvm_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.add_column("kvm_host", sa.Column("host_key_fingerprint", types.Name(255), nullable=True))


def downgrade() -> None:
    """Go back."""
    op.drop_column("kvm_host", "host_key_fingerprint")

"""Tags that carry secrets are sealed. Those that lie there in clear are sealed at the node's start, with the key that it has."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cairn.kernel.store import types

revision = "cairn_0014"
down_revision = "cairn_0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.add_column("system_tag", sa.Column("secret", types.Name(None), nullable=True))


def downgrade() -> None:
    """Go back. The values of tags that are sealed are lost; what VMs were told is in their rows."""
    op.drop_column("system_tag", "secret")

"""When the drain of a node ends by itself.

Revision: 0009, after 0008.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    with op.batch_alter_table("node", schema=None) as batch_op:
        batch_op.add_column(sa.Column("drained_until", sa.Float(), nullable=True))


def downgrade() -> None:
    """Take the change back."""
    with op.batch_alter_table("node", schema=None) as batch_op:
        batch_op.drop_column("drained_until")

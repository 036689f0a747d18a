"""When a planner last ticked: what the ledger says of nodes is of then.

Revision: 0004, after 0003.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    with op.batch_alter_table("planner", schema=None) as batch_op:
        batch_op.add_column(sa.Column("ticked_at", sa.Float(), nullable=True))


def downgrade() -> None:
    """Take the change back."""
    with op.batch_alter_table("planner", schema=None) as batch_op:
        batch_op.drop_column("ticked_at")

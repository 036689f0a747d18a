"""Origin of dead letters: what it takes to requeue them.

Revision: 0002, after 0001.
"""

from __future__ import annotations

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    with op.batch_alter_table("dead_letter", schema=None) as batch_op:
        batch_op.add_column(sa.Column("content_encoding", sqlmodel.sql.sqltypes.AutoString(), nullable=True))
        batch_op.add_column(sa.Column("routing_key", sqlmodel.sql.sqltypes.AutoString(), nullable=True))


def downgrade() -> None:
    """Take the change back."""
    with op.batch_alter_table("dead_letter", schema=None) as batch_op:
        batch_op.drop_column("routing_key")
        batch_op.drop_column("content_encoding")

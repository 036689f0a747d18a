"""The rounds of retraining, and for its twin the number of images of each logged job.

Revision: 0012, after 0011.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "retraining_round",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("began_at", sa.Float(), nullable=False),
        sa.Column("noted_at", sa.Float(), nullable=False),
        sa.Column("wall_s", sa.Float(), nullable=False),
        sa.Column("processor_s", sa.Float(), nullable=False),
        sa.Column("last_id", sa.Integer(), nullable=False),
        sa.Column("outcomes", sa.Integer(), nullable=False),
        sa.Column("result", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("experience", schema=None) as batch_op:
        batch_op.add_column(sa.Column("images", sa.Integer(), server_default="1", nullable=False))


def downgrade() -> None:
    """Take the change back."""
    with op.batch_alter_table("experience", schema=None) as batch_op:
        batch_op.drop_column("images")
    op.drop_table("retraining_round")

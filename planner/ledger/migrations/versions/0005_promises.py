"""What was promised when a job was accepted, what was foretold of an attempt, and what such predictions came to.

Revision: 0005, after 0004.
"""

from __future__ import annotations

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "calibration",
        sa.Column("stage", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("scores", sa.JSON(), nullable=False),
        sa.Column("p50_level", sa.Float(), nullable=False),
        sa.Column("p90_level", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("stage"),
    )
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.add_column(sa.Column("eta_p50_s", sa.Float(), nullable=True))
        batch_op.add_column(sa.Column("eta_p90_s", sa.Float(), nullable=True))
    with op.batch_alter_table("attempt", schema=None) as batch_op:
        batch_op.add_column(sa.Column("foretold_s", sa.Float(), nullable=True))


def downgrade() -> None:
    """Take the change back."""
    with op.batch_alter_table("attempt", schema=None) as batch_op:
        batch_op.drop_column("foretold_s")
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.drop_column("eta_p90_s")
        batch_op.drop_column("eta_p50_s")
    op.drop_table("calibration")

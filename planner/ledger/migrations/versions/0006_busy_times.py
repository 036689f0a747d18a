"""From when to when a node worked on an attempt: known of those that are done, from now on of all.

Revision: 0006, after 0005.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

OF_DONE = """
    UPDATE attempt SET ended_at = (SELECT finished_at - transfer_out_s FROM job WHERE job.id = attempt.job),
        began_at = (SELECT finished_at - transfer_out_s - generation_s - load_s FROM job WHERE job.id = attempt.job)
    WHERE result = 'done'
"""


def upgrade() -> None:
    """Apply the change."""
    with op.batch_alter_table("attempt", schema=None) as batch_op:
        batch_op.add_column(sa.Column("began_at", sa.Float(), nullable=True))
        batch_op.add_column(sa.Column("ended_at", sa.Float(), nullable=True))
    op.execute(OF_DONE)


def downgrade() -> None:
    """Take the change back."""
    with op.batch_alter_table("attempt", schema=None) as batch_op:
        batch_op.drop_column("ended_at")
        batch_op.drop_column("began_at")

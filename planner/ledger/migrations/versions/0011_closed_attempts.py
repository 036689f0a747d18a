"""An index of the attempts by when they were closed: the page reads the last minutes of them every second.

Revision: 0011, after 0010.
"""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.create_index("ix_attempt_closed_at", "attempt", ["closed_at"])


def downgrade() -> None:
    """Take the change back."""
    op.drop_index("ix_attempt_closed_at", table_name="attempt")

"""Ids of dead letters: SQLite gives none a second time, as PostgreSQL never did.

Revision: 0003, after 0002.
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    _copy_the_table(autoincrement=True)


def downgrade() -> None:
    """Take the change back."""
    _copy_the_table(autoincrement=False)


def _copy_the_table(*, autoincrement: bool) -> None:
    if op.get_context().dialect.name == "sqlite":
        options = {"sqlite_autoincrement": autoincrement}
        with op.batch_alter_table("dead_letter", schema=None, recreate="always", table_kwargs=options):
            pass

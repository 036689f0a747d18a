"""Alembic's entry: runs the migrations on the connection that `Ledger.migrate` hands over."""

from __future__ import annotations

from alembic import context
from sqlmodel import SQLModel

from planner.ledger import tables
from rl_agent.experience import log as experience_log
from rl_agent.policy import registry as policy_registry
from rl_agent.retraining import rounds

target_metadata = SQLModel.metadata if (tables, experience_log, policy_registry, rounds) else None

context.configure(
    connection=context.config.attributes["connection"], target_metadata=target_metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()

"""The documentation says what the code does, as far as a program can tell."""

from __future__ import annotations

import re
from enum import StrEnum

import pytest
from planner_world import World
from source_tree import PACKAGES, ROOT

from broker_config.messages import Delays, EventKind, FailureKind, JobState
from broker_config.rabbitmq.definitions import consumer_timeout_ms, policies
from broker_config.settings import Settings
from broker_config.settings_table import settings_table, with_table
from broker_config.topology import EXCHANGES, PLANNER_QUEUES, TRAIN_QUEUE
from planner.cli.main import main
from planner.ledger.tables import AttemptState
from planner.state.cluster import NodeState

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
}
GLOSSARY, OPERATIONS, ARCHITECTURE = (PAGES[f"docs/{name}.md"] for name in ("glossary", "operations", "architecture"))
SOURCES = {path: path.read_text() for package in PACKAGES for path in (ROOT / package).rglob("*.py")}

each_page = pytest.mark.parametrize("page", sorted(PAGES))


def cells(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading, without its two head rows."""
    section = page.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[2:]]


def code_spans(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def test_the_settings_table_is_the_one_of_the_code() -> None:
    assert with_table(OPERATIONS, settings_table()) == OPERATIONS, "run `python -m broker_config.settings_table`"


@pytest.mark.parametrize(
    ("heading", "states"),
    [("States of a job", JobState), ("States of an attempt", AttemptState), ("States of a node", NodeState)],
)
def test_the_glossary_has_each_state_with_the_sentence_of_its_enum(heading: str, states: type[StrEnum]) -> None:
    said = {state.strip("`"): sentence for state, sentence in cells(GLOSSARY, heading)}
    source = "\n".join(SOURCES.values())
    assert said == {s: re.search(rf'{s} = "{s}"  #: (.*)', source)[1] for s in states}


def test_the_glossary_has_each_kind_of_failure_event_and_delay() -> None:
    def first_cells(heading: str) -> set[str]:
        return {span for row in cells(GLOSSARY, heading) for span in code_spans(row[0])}

    assert first_cells("Why an attempt failed") == set(FailureKind)
    assert first_cells("Events a client hears") == set(EventKind)
    assert first_cells("Parts of the service delay") == set(Delays.model_fields)


def test_each_name_of_the_code_that_the_glossary_explains_is_in_the_code() -> None:
    names = {span for _, name, _ in cells(GLOSSARY, "Names in the code") for span in code_spans(name)}
    source = "\n".join(SOURCES.values())
    assert {name for name in names if not re.search(rf"^(class {name}\b|{name}\b.* = )", source, re.MULTILINE)} == set()


def test_the_architecture_has_each_exchange_queue_and_policy() -> None:
    spans = set(code_spans(ARCHITECTURE))
    named = [*EXCHANGES, *PLANNER_QUEUES, TRAIN_QUEUE, *policies(Settings(_env_file=None))]
    assert {thing.name for thing in named} <= spans


def test_operations_names_the_consumer_timeout_of_the_default_settings() -> None:
    assert f"consumer_timeout = {consumer_timeout_ms(Settings(_env_file=None))}\n" in OPERATIONS


def test_each_error_that_operations_explains_is_in_the_code() -> None:
    # Literals that stand next to each other are one string; what is between braces is a name or a number.
    source = re.sub(r'"\s*\n\s*f?"', "", "\n".join(SOURCES.values()))
    for message, remedy in cells(OPERATIONS, "What each error means"):
        for piece in message.strip("` ").split("…"):
            assert piece.strip("`():. ") in source, message
        assert remedy


def test_what_operations_says_to_delete_old_jobs_keeps_those_that_go_on() -> None:
    world = World()
    world.clock.time_s = 1767225600.0 - 100
    world.up("a")
    for job in ("old", "open"):
        world.submit(job)
    world.draw("a")
    with world.ledger.transaction() as connection:
        for statement in re.findall(r"^DELETE .*;$", OPERATIONS, re.MULTILINE):
            connection.exec_driver_sql(statement)
    with world.ledger.transaction() as connection:
        assert set(world.ledger.jobs(connection, ["old", "open"])) == {"open"}
    assert world.attempts("old") == []
    assert len(world.attempts("open")) == 1


@each_page
def test_each_variable_is_a_setting(page: str) -> None:
    known = {f"LADLE_{name.upper()}" for name in Settings.model_fields}
    example = re.findall(r"^#?(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    named = set(re.findall(r"\bLADLE_[A-Z0-9_]*[A-Z0-9]\b", PAGES[page]))
    assert {name for name in named if not name.startswith("LADLE_TEST_")} <= known | set(example)


@each_page
def test_each_command_exists(page: str) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", PAGES[page], re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()] + code_spans(PAGES[page])
    called = {found[1] for line in lines if (found := re.match(r"ladle ([a-z]+)\b", line))}
    assert called <= set(main.list_commands(None))  # type: ignore[arg-type]


@each_page
def test_each_link_within_the_repository_leads_somewhere(page: str) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", PAGES[page]):
        if "://" not in target:
            there = (ROOT / page).parent.joinpath(target).resolve() if target else ROOT / page
            assert there.exists(), target
            assert not anchor or anchor in anchors(there.read_text()), f"{target}#{anchor}"


def anchors(page: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def prose(source: str) -> str:
    """Return the docstrings and comments of a module."""
    return "\n".join(re.findall(r'"""[\s\S]*?"""|#.*', source))


def test_each_page_that_is_cited_exists() -> None:
    modules = [path for folder in (*PACKAGES, "benchmarks", "tests") for path in (ROOT / folder).rglob("*.py")]
    told = {path: prose(path.read_text()) for path in modules}
    told |= {ROOT / page: text for page, text in PAGES.items()}
    told |= {
        ROOT / name: (ROOT / name).read_text() for name in ("Makefile", "Dockerfile", "compose.yaml", "pyproject.toml")
    }
    there = {f"/{page}" for page in PAGES}
    found = {
        f"{path.relative_to(ROOT)}: {cited}"
        for path, text in told.items()
        for cited in re.findall(r"(?<![\w/.])[\w/-]+\.md\b", text)
        if not any(page.endswith(f"/{cited}") for page in there)
    }
    assert found == set()

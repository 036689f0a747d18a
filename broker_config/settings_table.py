"""The table of all settings in docs/operations.md, made from the code: `python -m broker_config.settings_table`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from broker_config.settings import Settings

DATA_DIR = "`~/.local/share/ladle`"  # the default depends on the machine, so the page names the usual one


def settings_table() -> str:
    """Return a Markdown table: variable, default, meaning of every setting, in the order of the class."""
    rows = [
        f"| `LADLE_{name.upper()}` | {_default(name, field)} | {_escaped(field.description or '')} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows]) + "\n"


def with_table(page: str, table: str) -> str:
    """Return `page` with what stands between its two markers replaced by `table`.

    Raises:
        ValueError: the page has no such markers.
    """
    begin, end = "<!-- settings: begin -->\n", "<!-- settings: end -->"
    before, _, rest = page.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"the page has no {begin.strip()} ... {end}")
    return f"{before}{begin}{table}{end}{after}"


def _default(name: str, field: FieldInfo) -> str:
    if name == "data_dir":
        return DATA_DIR
    default: Any = field.get_default(call_default_factory=True)
    return "empty" if default == "" else f"`{default}`"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def main() -> None:
    """Write the table into docs/operations.md."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    operations = Path(__file__).parent.parent / "docs" / "operations.md"
    operations.write_text(with_table(operations.read_text(), settings_table()))
    sys.stdout.write(f"wrote the settings table of {operations}\n")


if __name__ == "__main__":
    main()

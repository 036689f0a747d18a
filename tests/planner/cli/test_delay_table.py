"""What `ladle demo` and `ladle bench` print at their end."""

from __future__ import annotations

from rich.console import Console

from broker_config.messages import Delays
from planner.cli.delay_table import delay_table


def test_the_delay_table_adds_up_and_fits_80_columns():
    one = Delays(transfer_in_s=0.5, waiting_s=1.0, load_s=2.0, generation_s=3.0, transfer_out_s=0.5)
    two = Delays(transfer_in_s=0.0, waiting_s=12.0, load_s=0.0, generation_s=1.0, transfer_out_s=0.0)
    console = Console(width=80, record=True, file=open("/dev/null", "w"))
    console.print(delay_table([("fast", one), ("slow", two)]))
    console.file.close()
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in console.export_text().splitlines()]
    rows = {row[0]: row[1:] for row in cells if row}
    assert rows["fast"] == ["1", "5.00", "7.00", "7.00", "0.50", "1.00", "2.00", "3.00", "0.50"]
    assert rows["all"][:3] == ["2", "6.00", "10.0"]

"""Runs the demo and draws docs/demo.svg of its output: `python docs-site/screenshot.py`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

TARGET = Path(__file__).parents[1] / "docs" / "demo.svg"
COLUMNS = 100


def main() -> None:
    """Run the demo in a terminal of that many columns, and draw what it prints."""
    command = [sys.executable, "-c", "from paradigm_local.cli import main; raise SystemExit(main())", "demo"]
    variables = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(COLUMNS)}
    output = subprocess.run(command, env=variables, stdout=subprocess.PIPE, text=True, check=True).stdout  # noqa: S603
    console = Console(record=True, width=COLUMNS, file=StringIO())
    console.print(Text.from_ansi(output))
    drawn = console.export_svg(title="make demo", unique_id="demo")
    drawn = re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)  # they would be loaded from another host
    TARGET.write_text(re.sub(r"\bFira Code, ", "", drawn))


if __name__ == "__main__":
    main()

"""Write the contracts into a folder, and the page of commands beside it:
`python -m tenuto_gateway.contracts docs/api`."""

from __future__ import annotations

import sys
from pathlib import Path

from tenuto_gateway.contracts.commands import commands
from tenuto_gateway.contracts.documents import contracts

folder = Path(sys.argv[1])
for name, text in contracts().items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
(folder.parent / "commands.md").write_text(commands(), encoding="utf-8")

"""`python -m tenuto_gateway.cli` is the `tenuto` command."""

from __future__ import annotations

from tenuto_gateway.cli.entry import main

main()

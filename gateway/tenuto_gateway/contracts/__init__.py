"""The contracts with the outside, generated from the code: OpenAPI, AsyncAPI, JSON Schemas; and the page of commands.

`python -m tenuto_gateway.contracts docs/api` writes them; a test fails when what is committed is not what the code
says.
"""

from __future__ import annotations

from tenuto_gateway.contracts.commands import commands
from tenuto_gateway.contracts.documents import contracts

__all__ = ["commands", "contracts"]

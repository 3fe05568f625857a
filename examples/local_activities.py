"""Local activities: short steps that run in the orchestrator, beside steps that workers do.

    tenuto run examples/local_activities.py quote --input '{"item": "lamp", "count": 3}'

`price_of` and `with_tax` take microseconds. Sent to a worker, each would cost two messages, which is many times what
it does; declared `local`, each costs a row of history. `print_offer` talks to the world and takes its time, so it goes
to a worker, where as many may run as there are workers.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from tenuto import App, WorkflowContext

app = App("quotes")

PRICES = {"lamp": Decimal("19.90"), "desk": Decimal("240.00")}


@dataclass
class Request:
    item: str
    count: int


@app.activity(local=True)
async def price_of(item: str) -> Decimal:
    return PRICES[item]


@app.activity(local=True)
async def with_tax(net: Decimal) -> Decimal:
    return (net * Decimal("1.2")).quantize(Decimal("0.01"))


@app.activity
def print_offer(text: str) -> str:
    print(text)
    return text


@app.workflow
async def quote(ctx: WorkflowContext, request: Request) -> str:
    price = await ctx.call_activity(price_of, request.item)
    total = await ctx.call_activity(with_tax, price * request.count)
    return await ctx.call_activity(print_offer, f"{request.count} x {request.item}: {total}")

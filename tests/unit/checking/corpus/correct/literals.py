from tenuto import App, WorkflowContext
from dataclasses import dataclass

app = App("corpus")


@dataclass
class Order:
    id: int


@app.activity
async def take(order: Order) -> None: ...


@app.activity
async def optional(order: Order | None) -> None: ...


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    await ctx.call_activity(take, Order(id=1))
    await ctx.call_activity(optional, None)
    return await ctx.call_activity(act, 3)

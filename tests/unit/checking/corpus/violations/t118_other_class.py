from tenuto import App, WorkflowContext
from dataclasses import dataclass

app = App("corpus")


@dataclass
class Order:
    id: int


@dataclass
class Parcel:
    id: int


@app.activity
async def take(order: Order) -> None: ...


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    return await ctx.call_activity(take, Parcel(1))  # expect T118

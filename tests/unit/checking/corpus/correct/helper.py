from tenuto import App, WorkflowContext

app = App("corpus")


async def both(ctx: WorkflowContext, number: int) -> int:
    first = await ctx.call_activity(act, number)
    return double(first)


def double(number: int) -> int:
    return number * 2


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    return await both(ctx, 3)

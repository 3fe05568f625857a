from tenuto import App, WorkflowContext

app = App("corpus")


async def step(ctx: WorkflowContext) -> None:
    await ctx.create_timer(1)


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    step(ctx)  # expect T114
    return None

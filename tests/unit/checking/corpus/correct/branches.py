from tenuto import App, WorkflowContext

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    async def branch(number: int) -> int:
        return await ctx.call_activity(act, number)

    one, two = ctx.spawn(branch(1)), ctx.spawn(branch(2))
    return await one + await two

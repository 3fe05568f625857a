from tenuto import App, WorkflowContext

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    try:
        return await ctx.call_activity(act, 1)
    except BaseException:  # expect T120
        return None

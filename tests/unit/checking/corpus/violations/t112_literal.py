from tenuto import App, WorkflowContext

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    for name in {"a", "b"}:  # expect T112
        await ctx.call_activity(act, len(name))
    return None

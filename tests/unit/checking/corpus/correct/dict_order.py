from tenuto import App, WorkflowContext

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    for name, number in data.items():
        await ctx.call_activity(act, number)
    return list(dict.fromkeys(data))

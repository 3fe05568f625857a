from tenuto import App, WorkflowContext

app = App("corpus")

seen: list[int] = []


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    seen.append(1)  # expect T111
    return await ctx.call_activity(act, 1)

from tenuto import App, WorkflowContext, when_any

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    task = ctx.call_activity(act, 1)
    timer = ctx.create_timer(60)
    winner = await when_any([task, timer])
    if winner is timer:
        return None
    timer.cancel()
    return await task

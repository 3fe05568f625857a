from tenuto import App, WorkflowContext

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    ctx.create_timer(60)
    ctx.continue_as_new({"x": 1})
    return None

from tenuto import App, WorkflowContext

app = App("corpus")


@app.workflow
async def other(ctx: WorkflowContext) -> None: ...


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    return await other(ctx)  # expect T116

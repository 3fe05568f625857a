from tenuto import App, WorkflowContext, when_all

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    tasks = [ctx.call_activity(act, number) for number in data.values()]
    return await when_all(tasks)

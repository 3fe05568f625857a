from tenuto import App, WorkflowContext

app = App("corpus")

count = 0


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    global count  # expect T111
    count = 1
    return count

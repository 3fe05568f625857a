from tenuto import App, WorkflowContext

app = App("corpus")

cache = {"x": 1}


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    del cache["x"]  # expect T111
    return None

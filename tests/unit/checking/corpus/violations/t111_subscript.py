from tenuto import App, WorkflowContext

app = App("corpus")

cache: dict[str, int] = {}


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    cache["x"] = 1  # expect T111
    return None

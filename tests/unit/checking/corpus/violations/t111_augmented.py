from tenuto import App, WorkflowContext

app = App("corpus")

totals = {"x": 0}


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    totals["x"] += 1  # expect T111
    return None

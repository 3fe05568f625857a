from tenuto import App, WorkflowContext
from time import monotonic as tick

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    return tick()  # expect T101

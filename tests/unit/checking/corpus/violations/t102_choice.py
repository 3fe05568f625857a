from tenuto import App, WorkflowContext
from random import choice

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    return choice([1, 2])  # expect T102

from tenuto import App, WorkflowContext
from os import getenv

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    return getenv("HOME")  # expect T104

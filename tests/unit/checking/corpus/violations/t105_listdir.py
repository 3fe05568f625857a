from tenuto import App, WorkflowContext
import os

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    return os.listdir(".")  # expect T105

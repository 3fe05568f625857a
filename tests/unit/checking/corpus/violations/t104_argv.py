from tenuto import App, WorkflowContext
import sys

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    return sys.argv  # expect T104

from tenuto import App, WorkflowContext
from pathlib import Path

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    return Path("x").read_text()  # expect T105

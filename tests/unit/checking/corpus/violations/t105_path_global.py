from tenuto import App, WorkflowContext
from pathlib import Path

app = App("corpus")

ROOT = Path("x")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    return ROOT.read_bytes()  # expect T105

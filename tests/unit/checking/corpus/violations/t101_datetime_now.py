from tenuto import App, WorkflowContext
from datetime import UTC, datetime

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    return datetime.now(UTC)  # expect T101

from tenuto import App, WorkflowContext
from datetime import date

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    return date.today()  # expect T101

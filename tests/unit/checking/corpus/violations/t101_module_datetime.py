from tenuto import App, WorkflowContext
import datetime

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    return datetime.datetime.utcnow()  # expect T101

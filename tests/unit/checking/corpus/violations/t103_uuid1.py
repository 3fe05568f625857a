from tenuto import App, WorkflowContext
from uuid import uuid1

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    return str(uuid1())  # expect T103

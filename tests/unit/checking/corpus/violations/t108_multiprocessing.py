from tenuto import App, WorkflowContext
from multiprocessing import Process

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    return Process()  # expect T108

from tenuto import App, WorkflowContext
import time

app = App("corpus")


def stamp():
    return time.time_ns()  # expect T101


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    return stamp()

from tenuto import App, WorkflowContext
import time

app = App("corpus")


def inner():
    return time.time()  # expect T101


def outer():
    return inner()


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    return outer()

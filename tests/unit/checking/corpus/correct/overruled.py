from tenuto import App, WorkflowContext
import time

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    now = time.time()  # tenuto: ok[T101] only for the eyes of whoever debugs this
    return None

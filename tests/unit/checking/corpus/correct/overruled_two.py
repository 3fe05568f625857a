from tenuto import App, WorkflowContext
import os
import time

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    print(os.getpid(), time.time())  # tenuto: ok[T101, T104, T119] while we look for a bug
    return None

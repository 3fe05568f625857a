import time

from tenuto import App, WorkflowContext

app = App("corpus")


@app.workflow
async def wf(ctx: WorkflowContext) -> None:
    # expect-below T101
    time.time()  # tenuto: ok[T101]

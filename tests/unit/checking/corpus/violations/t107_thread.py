from tenuto import App, WorkflowContext
import threading

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    threading.Thread(target=print).start()  # expect T107
    return None

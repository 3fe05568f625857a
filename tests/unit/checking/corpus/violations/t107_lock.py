from tenuto import App, WorkflowContext
import threading

app = App("corpus")

lock = threading.Lock()


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    with lock:  # expect T107
        return 1

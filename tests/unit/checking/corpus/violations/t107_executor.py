from tenuto import App, WorkflowContext
from concurrent.futures import ThreadPoolExecutor

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    ThreadPoolExecutor(2)  # expect T107
    return None

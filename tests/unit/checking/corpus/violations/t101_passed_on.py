from tenuto import App, WorkflowContext
import time

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    return sorted(data, key=time.time)  # expect T101

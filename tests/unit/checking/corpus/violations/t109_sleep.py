from tenuto import App, WorkflowContext
import asyncio

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    await asyncio.sleep(1)  # expect T109
    return None

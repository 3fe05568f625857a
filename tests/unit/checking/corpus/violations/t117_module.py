from tenuto import App, WorkflowContext
import json

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    ctx.set_custom_status(json)  # expect T117
    return None

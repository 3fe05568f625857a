from tenuto import App, WorkflowContext
import uuid

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    return str(uuid.uuid4())  # expect T103

from tenuto import App, WorkflowContext
import tempfile

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    return tempfile.mkdtemp()  # expect T105

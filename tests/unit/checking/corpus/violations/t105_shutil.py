from tenuto import App, WorkflowContext
import shutil

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    shutil.rmtree("x")  # expect T105
    return None

from tenuto import App, WorkflowContext
import subprocess

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    return subprocess.run(["ls"])  # expect T108

from tenuto import App, WorkflowContext
from pathlib import PurePosixPath

app = App("corpus")

PREFIX = PurePosixPath("/a")
SETTINGS = {"x": "y"}
LIMITS = ["a"]


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    return str(PREFIX / "x") + SETTINGS["x"] + LIMITS[0]

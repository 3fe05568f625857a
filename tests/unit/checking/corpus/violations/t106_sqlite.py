from tenuto import App, WorkflowContext
import sqlite3

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    return sqlite3.connect("x").total_changes  # expect T106

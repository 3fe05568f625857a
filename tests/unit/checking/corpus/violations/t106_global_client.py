from tenuto import App, WorkflowContext
import sqlite3

app = App("corpus")

db = sqlite3.connect(":memory:")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    return db.execute("select 1")  # expect T106

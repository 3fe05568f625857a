from tenuto import App, WorkflowContext
import secrets

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    return secrets.token_hex(8)  # expect T102

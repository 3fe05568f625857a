from tenuto import App, WorkflowContext
import smtplib

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    smtplib.SMTP("localhost")  # expect T106
    return None

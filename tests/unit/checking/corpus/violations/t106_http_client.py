from tenuto import App, WorkflowContext
from http.client import HTTPConnection

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    return HTTPConnection("localhost")  # expect T106

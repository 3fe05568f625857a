from tenuto import App, WorkflowContext
import urllib.request

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    return urllib.request.urlopen("http://localhost").read()  # expect T106

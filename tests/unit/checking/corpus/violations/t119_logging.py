from tenuto import App, WorkflowContext
import logging

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    logging.info("hello")  # expect T119
    return None

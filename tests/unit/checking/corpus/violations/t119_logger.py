from tenuto import App, WorkflowContext
import logging

app = App("corpus")

log = logging.getLogger(__name__)


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    log.warning("hello")  # expect T119
    return None

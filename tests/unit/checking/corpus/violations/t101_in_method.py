import time

from tenuto import App, WorkflowContext

app = App("corpus")


class Service:
    async def wf(self, ctx: WorkflowContext) -> float:
        return time.time()  # expect T101


app.workflow(Service().wf)

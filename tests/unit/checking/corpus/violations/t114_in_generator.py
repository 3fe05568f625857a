from tenuto import App

app = App("corpus")


@app.workflow
def wf(ctx, number):
    ctx.call_activity("act", input=number)  # expect T114
    second = yield ctx.call_activity("act", input=number)
    return second

from tenuto import App

app = App("corpus")


@app.activity
def act(ctx, number):
    return number


@app.workflow
def wf(ctx, number):
    first = yield ctx.call_activity(act, input=number)
    second = yield ctx.call_activity("act", input=first)
    return second

"""The HTTP gateway: Tenuto's API under `/api/v1`, Dapr's workflow API under `/v1.0`, health and metrics.

    server      the service that listens
    app         the application: what is mounted where
    context     what the routes share: the client, the settings, the end of the process
    guard       what stands before every route: limits, authentication, audit, measuring
    callers     who may call, by which token
    bodies      request bodies and answers as JSON
    problems    errors as RFC 9457 problems: the one place that maps them to status codes
    instances   `/api/v1/instances`: start, look, wait, the verbs
    filters     which instances a listing is about
    updates     server-sent events: an instance or a listing, live (`listings` looks, once for all who follow)
    bulk        `/api/v1/bulk`: requests to all that fit a filter
    schedules   `/api/v1/schedules`
    deployment  `/api/v1/queues`, `/api/v1/pools`
    dapr        Dapr's routes, to the letter
    openapi     the OpenAPI document, which `document` serves
    health      `/healthz`, `/readyz`, `/metrics`

Everything goes through `tenuto.client.Client`; nothing here knows a database or a broker.
"""

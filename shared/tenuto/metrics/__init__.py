"""Metrics: what the engine tells of itself, and to whom.

    catalogue   every metric, by name
    recorder    who is told what happened; nobody, unless metrics are asked for
    prometheus  a recorder that Prometheus can ask
    liveness    what waits in a deployment, and what the doctor finds wrong with it
    dapr        the same under Dapr's names
    otlp        a recorder over OpenTelemetry's metrics, and their export
    server      the port that Prometheus asks
    probes      `/healthz` and `/readyz`, on the same port

`prometheus` and `liveness` need the extra `tenuto[metrics]`; services know the first two modules alone.
"""

"""Metrics: what the engine tells of itself, and to whom.

    catalogue   every metric, by name
    recorder    who is told what happened; nobody, unless metrics are asked for
    prometheus  a recorder that Prometheus can ask
    liveness    what waits in a deployment, and what the doctor finds wrong with it
    server      the port that Prometheus asks
    probes      `/healthz` and `/readyz`, on the same port

`prometheus` and `liveness` need the extra `tenuto[metrics]`; services know the first two modules alone.
"""

"""Metrics in Prometheus' form, on an HTTP port of their own; needs the extra `tenuto[metrics]`.

    server    the port, and what it serves
    probes    `/healthz` and `/readyz`, on the same port
    liveness  what waits in a deployment, and what the doctor finds wrong with it

Everything is a collector that is asked when Prometheus asks, so nothing is counted that nobody reads.
"""

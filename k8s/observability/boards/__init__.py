"""The Grafana dashboards as code: `python -m k8s.observability` writes `k8s/observability/dashboards/*.json`.

    model     what a board is made of, in Grafana's JSON
    fleet     the whole deployment at a glance
    workflow  one type of workflow
    pools     the worker pools
    engine    what the engine has of its broker and its database
    tracing   traces in Jaeger, and the numbers that lead to them

The JSON is kept in the repository, so that Grafana and kustomize can take it as it is; a test compares it.
"""

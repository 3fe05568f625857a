"""What watches a deployment. `python -m k8s.observability` writes everything here that is generated.

boards/         the Grafana dashboards as code
dashboards/     what comes of it: JSON that Grafana and kustomize take as it is (generated)
provisioning/   Grafana's data sources, and where it finds the dashboards
rules.yaml      the alerts of k8s/alerts for the Prometheus Operator (generated)
kustomization.yaml   a component: dashboards as ConfigMaps, and the rules
"""

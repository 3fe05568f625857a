"""`tenuto bench`: what a deployment, or the embedded default, can do; measured with every result verified.

`program` is what is run, an app like any other; `workloads` what is asked of it and what must come back; `places`
where it runs (in this process, in processes of its own, in a deployment that is there already); `usage` what it costs;
`measure` warms up, repeats and reports.
"""

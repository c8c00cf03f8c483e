"""The rows of the benchmark, one a module."""

from bench.rows import (
    batch,
    containers,
    drain,
    growth,
    idle,
    latency,
    limits,
    nodes,
    order,
    pickup,
    post,
    snapshot,
    start,
    sustained,
)
from bench.rows.row import Row

ROWS: dict[str, Row] = {
    module.ROW.name: module.ROW
    for module in (
        drain,
        pickup,
        latency,
        post,
        batch,
        order,
        idle,
        growth,
        start,
        containers,
        nodes,
        snapshot,
        sustained,
        limits,
    )
}

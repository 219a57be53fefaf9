"""The lineage graph: nodes are upserted, edges are added once."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from headrace.runtime.db import Connection
from services.registry.domain.lineage import Edge, Kind, Node, NodeId, Relation

_BEHIND = """
with recursive behind (kind, id, depth) as (
    select $2::text, $3::text, 0
    union
    select e.target_kind, e.target_id, b.depth + 1
    from behind b join lineage_edge e
        on e.project = $1 and e.source_kind = b.kind and e.source_id = b.id
    where b.depth < 8
), around (kind, id, depth) as (
    select kind, id, depth from behind
    union all
    select e.source_kind, e.source_id, 1 from lineage_edge e
    where e.project = $1 and e.target_kind = $2 and e.target_id = $3
    union all
    select e.source_kind, e.source_id, b.depth + 1 from behind b join lineage_edge e
        on e.project = $1 and e.target_kind = b.kind and e.target_id = b.id
    where b.kind = 'pipeline_run' and e.relation = 'part_of'
)
select a.kind, a.id, coalesce(n.detail, '{}') as detail, n.event_id, n.correlation_id, n.at
from (select kind, id, min(depth) as depth from around group by kind, id) a
left join lineage_node n on n.project = $1 and n.kind = a.kind and n.id = a.id
order by a.depth, n.at nulls last
"""


async def put_node(connection: Connection, *, project: str, node: Node) -> None:
    """What is known of a node now; details that an earlier event told stay unless told again."""
    await connection.execute(
        "insert into lineage_node as n (project, kind, id, detail, event_id, correlation_id, at)"
        " values ($1, $2, $3, $4, $5, $6, $7)"
        " on conflict (project, kind, id) do update set detail = n.detail || excluded.detail,"
        " event_id = excluded.event_id, correlation_id = excluded.correlation_id,"
        " at = excluded.at",
        project,
        node.node.kind.value,
        node.node.id,
        dict(node.detail),
        node.event_id,
        node.correlation_id,
        node.at,
    )


async def add_edges(connection: Connection, *, project: str, edges: Sequence[Edge]) -> None:
    """Edges that are not there yet; the event that told one first stays."""
    await connection.executemany(
        "insert into lineage_edge (project, source_kind, source_id, relation, target_kind,"
        " target_id, event_id, correlation_id, at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
        " on conflict do nothing",
        [
            (
                project,
                edge.source.kind.value,
                edge.source.id,
                edge.relation.value,
                edge.target.kind.value,
                edge.target.id,
                edge.event_id,
                edge.correlation_id,
                edge.at,
            )
            for edge in edges
        ],
    )


async def behind(connection: Connection, *, project: str, version_id: str) -> list[Node]:
    """Everything that a version comes from, and its deployments and steps; nearest first."""
    rows = await connection.fetch(_BEHIND, project, Kind.MODEL_VERSION.value, version_id)
    return [_node(row) for row in rows]


async def edges_of(connection: Connection, *, project: str, nodes: Sequence[NodeId]) -> list[Edge]:
    """Edges between the nodes given."""
    rows = await connection.fetch(
        "with chosen as (select * from unnest($2::text[], $3::text[]) as c(kind, id))"
        " select e.* from lineage_edge e"
        " join chosen s on s.kind = e.source_kind and s.id = e.source_id"
        " join chosen t on t.kind = e.target_kind and t.id = e.target_id"
        " where e.project = $1 order by e.at",
        project,
        [node.kind.value for node in nodes],
        [node.id for node in nodes],
    )
    return [_edge(row) for row in rows]


def _node(row: asyncpg.Record) -> Node:
    return Node(
        node=NodeId(kind=Kind(row["kind"]), id=row["id"]),
        detail=row["detail"],
        event_id=row["event_id"],
        correlation_id=row["correlation_id"],
        at=row["at"],
    )


def _edge(row: asyncpg.Record) -> Edge:
    return Edge(
        source=NodeId(kind=Kind(row["source_kind"]), id=row["source_id"]),
        relation=Relation(row["relation"]),
        target=NodeId(kind=Kind(row["target_kind"]), id=row["target_id"]),
        event_id=row["event_id"],
        correlation_id=row["correlation_id"],
        at=row["at"],
    )

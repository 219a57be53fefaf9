-- Who is told of changes over HTTP, and every message that is or was on its way to them. A message
-- is written in the transaction of the change and leaves by a lease on its webhook: one at a time,
-- in order. A failure rests the webhook as a whole, so that what comes later does not overtake.

create table webhook (
    id uuid primary key,
    project text not null,
    name text not null,
    url text not null,
    events text[] not null check (cardinality(events) > 0),
    description text,
    secret text,
    status text not null check (status in ('ACTIVE', 'DISABLED')),
    failures int not null default 0,
    rests_until timestamptz,
    lease uuid,
    leased_until timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    deleted_at timestamptz
);
create index webhook_newest on webhook (project, created_at desc, id) where deleted_at is null;

create table webhook_delivery (
    id uuid primary key,
    seq bigint generated always as identity unique,
    project text not null,
    webhook_id uuid not null references webhook,
    event text not null,
    body text not null,
    state text not null default 'waiting' check (state in ('waiting', 'delivered', 'dead')),
    attempts int not null default 0,
    response_status int,
    error text,
    created_at timestamptz not null,
    give_up_at timestamptz not null,
    attempted_at timestamptz,
    finished_at timestamptz
);
create index webhook_delivery_waiting on webhook_delivery (webhook_id, seq)
    where state = 'waiting';
create index webhook_delivery_newest on webhook_delivery (webhook_id, seq desc);
create index webhook_delivery_finished on webhook_delivery (finished_at)
    where state <> 'waiting';

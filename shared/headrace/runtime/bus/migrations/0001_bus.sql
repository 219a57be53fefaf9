-- The bus inside a service's schema: what is to be published, what was consumed.

-- Column names are Debezium's, so that its outbox event router works unchanged.
create table outbox (
    seq bigint generated always as identity primary key,
    id uuid not null,
    aggregatetype text not null,
    aggregateid text not null,
    type text not null,
    payload bytea not null,
    headers jsonb not null,
    created_at timestamptz not null default clock_timestamp()
);

-- One row: whose numbers these are, and the last number given out.
create table outbox_source (
    single boolean primary key default true check (single),
    incarnation uuid not null default gen_random_uuid(),
    last_number bigint not null default 0
);
insert into outbox_source default values;

-- Written before a batch is published, deleted with it: after a crash the same
-- rows go out again in the same order with the same numbers.
create table relay_batch (
    single boolean primary key default true check (single),
    first_number bigint not null,
    seqs bigint[] not null
);

create table consumer_offset (
    grp text not null,
    topic text not null,
    part int not null,
    next_offset bigint not null,
    updated_at timestamptz not null default now(),
    primary key (grp, topic, part)
);

-- Highest number seen from each relay, per partition: the guard against re-sent records.
create table source_seq (
    grp text not null,
    topic text not null,
    part int not null,
    source text not null,
    last_seq text not null,
    primary key (grp, topic, part, source)
);

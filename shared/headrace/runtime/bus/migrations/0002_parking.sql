-- Parking by key, foreign events told apart, several batches under way, tombstones.

-- In the order in which consumers take them; better to fail and be started again than to queue.
set local lock_timeout = '5s';
lock table consumer_offset, outbox, relay_batch in access exclusive mode;

alter table outbox
    alter column payload drop not null,
    alter column id set default gen_random_uuid();
-- Rows live for milliseconds: clean up by count, not by share of a table that is mostly empty.
alter table outbox set (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_insert_scale_factor = 0,
    autovacuum_vacuum_insert_threshold = 100000
);

-- Several batches may be under way; each is known by its first number.
alter table relay_batch drop constraint relay_batch_pkey;
alter table relay_batch drop column single;
alter table relay_batch add primary key (first_number);

-- How many records of the partition are parked: known with the compare-and-set, at no cost.
alter table consumer_offset add column parked int not null default 0;

-- Records of keys that are in trouble, in the order they came.
create table parked (
    grp text not null,
    topic text not null,
    part int not null,
    kafka_offset bigint not null,
    key bytea not null,
    value bytea,
    -- Name and value in turn: neither needs to be text.
    headers bytea[] not null,
    stamped_at bigint not null,
    attempts int not null,
    error text not null,
    parked_at timestamptz not null,
    next_try timestamptz not null,
    primary key (grp, topic, part, kafka_offset)
);
create index parked_by_key on parked (grp, topic, part, key, kafka_offset);
create index parked_due on parked (grp, next_try);

-- Dead letters that were put back to work: each at most once.
create table redriven (
    topic text not null,
    part int not null,
    kafka_offset bigint not null,
    redriven_at timestamptz not null default now(),
    redriven_by text not null,
    primary key (topic, part, kafka_offset)
);

-- Events of producers that are not our relays, by the day of their ce_time, so that twins meet;
-- a day is dropped as a whole. What has an odd day waits in the default partition.
create table inbox (
    grp text not null,
    source text not null,
    id text not null,
    day date not null,
    seen_at timestamptz not null default now(),
    primary key (grp, source, id, day)
) partition by range (day);
create table inbox_other partition of inbox default;

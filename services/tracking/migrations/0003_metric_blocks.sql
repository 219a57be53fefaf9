-- Compaction brings the chunks of many writes together. A block holds one metric alone, in order,
-- with a preview of it: the extremes of each part of the block, enough to draw it from afar.
alter table metric_chunk add column level smallint not null default 0;
alter table metric_chunk add column preview_codec smallint;
alter table metric_chunk add column preview bytea;
alter table metric_chunk add column first_step bigint;
alter table metric_chunk add column last_step bigint;
alter table metric_chunk alter column preview set storage external;
-- What a compaction may have to do, after a restart.
create index metric_chunk_uncompacted on metric_chunk (run_id) include (points) where level = 0;

-- Writes of many points, for good: chunks go into blocks, but the same points sent again are still
-- known at a glance. `name` is that of the request, so that its body need not even be read.
create table metric_write (
    write_id bigint generated always as identity primary key,
    run_id text not null,
    digest bytea not null check (length(digest) = 16),
    name bytea check (length(name) = 16),
    unique (run_id, digest)
);
insert into metric_write (run_id, digest) select run_id, digest from metric_chunk;
alter table metric_chunk drop constraint metric_chunk_run_id_digest_key;
alter table metric_chunk drop column digest;

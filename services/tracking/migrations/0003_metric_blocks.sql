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

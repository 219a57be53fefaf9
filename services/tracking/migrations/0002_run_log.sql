-- What was written to runs and is not folded into summaries yet: the queue of the folder.
create table run_log (
    log_id bigint generated always as identity primary key,
    run_id text not null,
    -- Of the points, if it brought any: the same points again are a repetition.
    digest bytea check (length(digest) = 16),
    points int,
    -- Few points lie here, many in a chunk of their own from the start.
    chunk_id bigint,
    keys text,
    codec smallint,
    body bytea,
    -- Params, tags and chain of causes for the event that tells of it.
    told jsonb,
    unique (run_id, digest)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 20000);
alter table run_log alter column body set storage external;

-- What is written to a run belongs to one that was found in the same statement: the check of a
-- foreign key would lock the run's row once more for each row.
alter table param drop constraint param_run_id_fkey;
alter table tag drop constraint tag_run_id_fkey;
alter table metric_chunk drop constraint metric_chunk_run_id_fkey;
alter table metric_summary drop constraint metric_summary_run_id_fkey;
alter table metric_summary set (fillfactor = 70);

-- Somebody asked the run to stop: what its client logs is refused from then on.
alter table run add column stop_requested_at bigint;

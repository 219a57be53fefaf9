-- What searches need at hand: every row knows its experiment, so that an index can begin with it,
-- and values are indexed by a bounded beginning. An index on what is searched answers alone,
-- without the table.

-- A decimal number within the range of a double, or null; never an error.
create function number_of(value text) returns double precision
language sql immutable strict parallel safe as $$
    select case
        when value ~ '^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$'
            and pg_input_is_valid(value, 'double precision')
        then value::double precision
    end
$$;

alter table param
    add column experiment_id bigint,
    add column head text collate "C" generated always as (left(value, 64)) stored,
    add column number double precision generated always as (number_of(value)) stored;
update param set experiment_id = run.experiment_id from run where run.run_id = param.run_id;
alter table param alter column experiment_id set not null;
create index param_search on param (experiment_id, key, head, run_id) include (number);

alter table tag
    add column experiment_id bigint,
    add column head text collate "C" generated always as (left(value, 64)) stored;
update tag set experiment_id = run.experiment_id from run where run.run_id = tag.run_id;
alter table tag alter column experiment_id set not null;
create index tag_search on tag (experiment_id, key, head, run_id);

alter table metric_summary add column experiment_id bigint;
update metric_summary set experiment_id = run.experiment_id
from run where run.run_id = metric_summary.run_id;
alter table metric_summary alter column experiment_id set not null;
create index metric_search on metric_summary (experiment_id, key, last_value, run_id)
    include (minimum, maximum);

create index run_by_start on run (experiment_id, start_time desc, run_id) include (lifecycle_stage);
drop index run_by_experiment;
create index run_dataset_by_dataset on run_dataset (dataset_id, run_id);

-- How many rows hold a value depends on the key: `true` is rare among learning rates.
create statistics param_values (mcv) on experiment_id, key, head from param;
create statistics tag_values (mcv) on experiment_id, key, head from tag;
create statistics metric_keys (mcv) on experiment_id, key from metric_summary;
alter statistics param_values set statistics 500;
alter statistics tag_values set statistics 500;

-- Scans of an index alone want pages marked visible soon, and plans want fresh figures.
alter table run set (autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
alter table param set (autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.05);
alter table tag set (autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.05);
alter table metric_summary set (autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

-- Since when a run is deleted: after some time it may be purged.
alter table run add column deleted_at timestamptz;
create index run_by_deletion on run (deleted_at) where deleted_at is not null;

create function note_deletion() returns trigger language plpgsql as $$
begin
    new.deleted_at := case when new.lifecycle_stage = 'deleted' then now() end;
    return new;
end
$$;
create trigger note_deletion before update of lifecycle_stage on run
for each row when (old.lifecycle_stage <> new.lifecycle_stage) execute function note_deletion();

-- Where files of purged runs lie. A row stays until no write that was begun before can still come.
create table artifact_garbage (
    run_id text primary key,
    project text not null,
    -- Null: its files lie elsewhere and are not ours to delete.
    prefix text check (prefix like 'artifacts/%/'),
    purged_at timestamptz not null default now(),
    emptied_at timestamptz
);
create index artifact_garbage_by_time on artifact_garbage (purged_at);

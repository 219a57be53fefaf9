-- Whether the state topic was told where an alias points; those that moved before there was one
-- are told at the next start.

alter table alias add column state_told boolean not null default false;
create index alias_untold on alias (project) where not state_told;

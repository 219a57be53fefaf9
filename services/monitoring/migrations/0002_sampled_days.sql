-- Predictions that those of the day stand for, by their sampling rates; null in days from before
-- there were any.
alter table closed_day add column estimated double precision;

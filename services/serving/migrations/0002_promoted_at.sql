-- When the registry promoted what is to be deployed, as its event says: an order that a newer
-- promotion has overtaken is not carried out. Null for `warm`, and for orders before this version.

alter table deployment add column promoted_at timestamptz;

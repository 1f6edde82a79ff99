-- Back to an empty database: every document, update and grant is dropped with its table.

drop table quarantined_updates;
drop table document_grants;
drop table checkpoints;
drop table document_updates;
drop table documents;
drop function touch_updated_at();

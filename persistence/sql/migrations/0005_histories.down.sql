-- Which copies are of an older history is forgotten: they are merged again when they come back.

drop table document_histories;
alter table checkpoints drop column epoch;
alter table document_updates drop constraint document_updates_history_fkey;
alter table document_updates drop column epoch;
alter table document_updates add constraint document_updates_document_id_fkey
  foreign key (document_id) references documents (id) on delete cascade;
alter table documents drop constraint documents_epoch_key;

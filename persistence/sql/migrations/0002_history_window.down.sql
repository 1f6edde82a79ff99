-- Back to pruning with each checkpoint: which rows are gone is guessed from the oldest generation again.

drop index document_updates_by_age;
drop trigger document_updates_dropped on document_updates;
drop function raise_journal_floors();
drop table journal_floors;

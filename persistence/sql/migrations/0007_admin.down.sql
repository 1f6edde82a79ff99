-- Freezes end, nobody is kept out any more, and what operators did is forgotten.

drop table admin_actions;
drop function keep_admin_actions;
drop table document_exclusions;
drop table document_freezes;

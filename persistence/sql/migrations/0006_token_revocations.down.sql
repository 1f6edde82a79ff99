-- What was revoked is forgotten: such tokens count again until they expire.

drop table token_revocations;

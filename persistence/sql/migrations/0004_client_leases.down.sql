-- Who first wrote as which client is forgotten: everyone may write as anyone again.

drop table client_leases;

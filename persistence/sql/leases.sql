-- name: held
-- Every lease of a document, a row for each subject.
select subject, array_agg(client_id) as client_ids
from client_leases
where document_id = $1
group by subject

-- name: held_of
-- The leases of some client ids, a row for each subject.
select subject, array_agg(client_id) as client_ids
from client_leases
where document_id = $1 and client_id = any($2::bigint[])
group by subject

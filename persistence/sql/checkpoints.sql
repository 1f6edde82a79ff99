-- name: epoch
-- The epoch a document is in.
select epoch from documents where id = $1

-- name: generations
-- The kept checkpoints of a document's present history, newest first.
select document_id, generation, key, sha256, size_bytes, state_vector, epoch
from checkpoints
where document_id = $1 and epoch = (select epoch from documents where id = $1)
order by generation desc

-- name: newest
-- The newest checkpoint of a document.
select document_id, generation, key, sha256, size_bytes, state_vector, epoch
from checkpoints
where document_id = $1
order by generation desc
limit 1

-- name: floor
-- The generation up to which folded rows of a document may be gone; no row comes back when all are there.
select generation from journal_floors where document_id = $1

-- name: unfolded_rows
-- The rows that no generation holds.
select id, update, reach
from document_updates
where document_id = $1 and folded_into is null

-- name: rows_folded_after
-- The rows that were folded into a later generation than the given one.
select id, update, reach
from document_updates
where document_id = $1 and folded_into > $2

-- name: insert
-- Add a generation, unless it or a younger one is there or the history was replaced: then no row comes back.
insert into checkpoints (document_id, generation, key, sha256, size_bytes, state_vector, epoch)
select id, $2::integer, $3::text, $4::bytea, $5::bigint, $6::bytea, epoch
from documents
where id = $1 and epoch = $7
  and not exists (select from checkpoints where document_id = $1 and generation >= $2::integer)
for key share
on conflict (document_id, generation) do nothing
returning id

-- name: mark_folded
-- Note which rows a generation holds; a row folded before keeps its older mark, which keeps it longer.
update document_updates
set folded_into = $2
where document_id = $1 and id = any($3::bigint[]) and folded_into is null

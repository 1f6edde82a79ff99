-- name: current
-- What tells copies of older histories from the present one; no row for a history that was never replaced.
select h.epoch, h.marker, h.ever, h.dead
from document_histories h join documents d on d.id = h.document_id and d.epoch = h.epoch
where h.document_id = $1

-- name: epochs
-- Those of some documents whose history was ever replaced, with their epochs.
select document_id, max(epoch) as epoch
from document_histories
where document_id = any($1::uuid[])
group by document_id

-- name: kept
-- Every kept generation of a document, of all its histories, newest first.
select document_id, generation, key, sha256, size_bytes, state_vector, epoch, created_at
from checkpoints
where document_id = $1
order by generation desc

-- name: lock
-- Take the document for a new history: waits for appends under way, and lets none begin.
select epoch from documents where id = $1 for update

-- name: reaches
-- How far every update in the journal reaches.
select reach from document_updates where document_id = $1

-- name: drop_journal
-- Remove the updates of the history that ends.
delete from document_updates where document_id = $1

-- name: begin_epoch
-- Give the document its new epoch.
update documents set epoch = $2 where id = $1

-- name: insert_history
-- Note what tells copies of the older histories.
insert into document_histories (document_id, epoch, marker, ever, dead)
values ($1, $2, $3, $4, $5)

-- name: insert_checkpoint
-- Add the state that the new history begins with.
insert into checkpoints (document_id, generation, key, sha256, size_bytes, state_vector, epoch)
values ($1, $2, $3, $4, $5, $6, $7)

-- name: raise_floor
-- Note that only this generation and what follows makes the document: the rows before it are gone.
insert into journal_floors (document_id, generation)
values ($1, $2)
on conflict (document_id) do update set generation = excluded.generation

-- name: find
-- The document of a public name.
select id, name, epoch from documents where name = $1

-- name: create
-- Make a document unless another connection has just made it: then no row comes back.
insert into documents (name) values ($1)
on conflict (name) do nothing
returning id, name, epoch

-- name: existing
-- Those of some documents that there are.
select id from documents where id = any($1::uuid[])

-- name: record_content
-- Note the counts and the rendering of the last checkpointed content.
update documents set word_count = $2, character_count = $3, content_key = $4 where id = $1

-- name: begin
-- Note what an operator is about to do.
insert into admin_actions (operator, action, target, detail, task)
values ($1, $2, $3, $4::jsonb, $5)
returning id

-- name: settle
-- Add how it ended, once.
update admin_actions set outcome = $2, result = $3::jsonb, settled_at = now()
where id = $1 and outcome is null

-- name: newest
-- A page of actions, newest first.
select id, at, operator, action, target, detail::text, task, outcome, result::text, settled_at
from admin_actions
where ($1::text is null or target = $1) and ($2::text is null or operator = $2) and id < $3
order by id desc limit $4

-- name: since
-- A page of actions that came after one, oldest first.
select id, at, operator, action, target, detail::text, task, outcome, result::text, settled_at
from admin_actions
where ($1::text is null or target = $1) and ($2::text is null or operator = $2) and id > $3
order by id limit $4

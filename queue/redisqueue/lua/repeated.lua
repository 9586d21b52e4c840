-- repeated.lua: the job that was submitted under an idempotency key.
-- flags=no-writes
--
-- KEYS: 1 all, 2 idem
-- ARGV: 1 field in idem
-- Returns: "used", job, digest, commit record; or "none"

local used = call('HGET', KEYS[2], ARGV[1])
if not used then return { 'none' } end
local id = used:sub(1, 26)
return { 'used', id, used:sub(27), call('HGET', KEYS[1], id) }

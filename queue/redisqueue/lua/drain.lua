-- drain.lua: goes on ending what a re-enrolled, revoked or deleted host had,
-- where it was too much for one call.
--
-- KEYS: 7 q:<host>, 8 drain
-- ARGV: 2 host, 3 how many at most
-- Returns: ended, 1 if there may be more, hints

local h = host(ARGV[2], KEYS[7])
local from = call('HGET', KEYS[8], h.id)
if not from then return { 0, 0, {} } end
local ends, on = void_all(h, from, tonumber(ARGV[3]))
if on == '' then after('HDEL', KEYS[8], h.id) else after('HSET', KEYS[8], h.id, on) end
h.recheck = true
return { ends, on == '' and 0 or 1, finish() }

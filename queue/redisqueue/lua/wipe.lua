-- wipe.lua: removes a partition's targets of a job that was never committed,
-- unless a later attempt wrote them.
--
-- KEYS: 1 d, 2 jt:<job>
-- ARGV: 1 job, 2 attempt
-- Returns: 1 if removed

local fixed = call('HGET', KEYS[1], 's' .. ARGV[1])
if not fixed then return 0 end
fixed = { unmsg(fixed) }
if fixed[S_ATTEMPT] > tonumber(ARGV[2]) then return 0 end
local gone = { 's' .. ARGV[1], 'c' .. ARGV[1] }
for at = 0, fixed[S_COUNT] - 1, SHARD do push(gone, ARGV[1] .. ':' .. at / SHARD) end
call('UNLINK', KEYS[2])
send('HDEL', KEYS[1], gone)
return 1

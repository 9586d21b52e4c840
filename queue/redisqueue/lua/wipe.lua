-- wipe.lua: removes a partition's targets of a job that was never committed,
-- unless a later attempt wrote them.
--
-- KEYS: 1 js, 2 jb, 3 jt:<job>
-- ARGV: 1 job, 2 attempt
-- Returns: 1 if removed

local fixed = redis.call('HGET', KEYS[1], 's' .. ARGV[1])
if not fixed then return 0 end
fixed = cmsgpack.unpack(fixed)
if fixed[1] > tonumber(ARGV[2]) then return 0 end
local shards = {}
for at = 0, fixed[8] - 1, SHARD do shards[#shards + 1] = ARGV[1] .. ':' .. at / SHARD end
redis.call('HDEL', KEYS[2], unpack(shards))
redis.call('UNLINK', KEYS[3])
redis.call('HDEL', KEYS[1], 's' .. ARGV[1], 'c' .. ARGV[1])
return 1

-- prepare.lua: writes a partition's targets of a job that is being submitted.
-- What a later attempt wrote, or this one before, stays.
--
-- KEYS: 1 js, 2 jb, 3 jt:<job>
-- ARGV: 1 job, 2 attempt, 3 fixed part, 4 moving part, 5 targets, 6 how many
-- Returns: 1 if written

local old = redis.call('HGET', KEYS[1], 's' .. ARGV[1])
if old and cmsgpack.unpack(old)[1] >= tonumber(ARGV[2]) then return 0 end
local n, args = tonumber(ARGV[6]), {}
for from = 0, n - 1, SHARD do
  args[#args + 1] = ARGV[1] .. ':' .. from / SHARD
  args[#args + 1] = string.rep('p', math.min(SHARD, n - from))
end
for i = 1, #args, 1000 do redis.call('HSET', KEYS[2], unpack(args, i, math.min(i + 999, #args))) end
redis.call('SET', KEYS[3], ARGV[5])
redis.call('HSET', KEYS[1], 's' .. ARGV[1], ARGV[3], 'c' .. ARGV[1], ARGV[4])
return 1

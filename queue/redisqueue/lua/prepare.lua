-- prepare.lua: writes a partition's targets of a job that is being submitted.
-- What a later attempt wrote, or this one before, stays.
--
-- KEYS: 1 d, 2 jt:<job>
-- ARGV: 1 job, 2 attempt, 3 fixed part, 4 moving part, 5 targets, 6 how many
-- Returns: 1 if written

local old = call('HGET', KEYS[1], 's' .. ARGV[1])
if old and unmsg(old) >= tonumber(ARGV[2]) then return 0 end
local n, args = tonumber(ARGV[6]), {}
for from = 0, n - 1, SHARD do push(args, ARGV[1] .. ':' .. from / SHARD, string.rep('p', math.min(SHARD, n - from))) end
push(args, 's' .. ARGV[1], ARGV[3])
push(args, 'c' .. ARGV[1], ARGV[4])
send('HSET', KEYS[1], args)
call('SET', KEYS[2], ARGV[5])
return 1

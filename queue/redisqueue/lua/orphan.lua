-- orphan.lua: partitions have executions of a job whose commit record a failover took: it is removed from them, as
-- one that retention took. A submit of it that is still under way begins again.
--
-- KEYS: 1 all, 2 pending, 3 del
-- ARGV: 1 job, 2 attempt that wrote them, 3 numbers of targets by partition
-- Returns: 1 if that is news

if call('HEXISTS', KEYS[1], ARGV[1]) == 1 or call('HEXISTS', KEYS[3], ARGV[1]) == 1 then return 0 end
local v, attempt = call('HGET', KEYS[2], ARGV[1]), tonumber(ARGV[2])
if v and unmsg(v)[2] <= attempt then call('HDEL', KEYS[2], ARGV[1]) end
call('HSET', KEYS[3], ARGV[1], pack({ attempt, ARGV[3] }))
return 1

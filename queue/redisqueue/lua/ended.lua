-- ended.lua: all executions of a job have ended: retention may count it.
--
-- KEYS: 1 live, 2 done, 3 outs, 4 sizes, 5 totals
-- ARGV: 1 job, 2 when, 3 bytes of output, 4 bytes of records
-- Returns: 1 if that is news

if call('ZREM', KEYS[1], ARGV[1]) == 0 then return 0 end
call('ZADD', KEYS[2], ARGV[2], ARGV[1])
if tonumber(ARGV[3]) > 0 then call('ZADD', KEYS[3], ARGV[2], ARGV[1]) end
call('HSET', KEYS[4], ARGV[1], pack({ tonumber(ARGV[3]), tonumber(ARGV[4]) }))
call('HINCRBY', KEYS[5], 'out', ARGV[3])
call('HINCRBY', KEYS[5], 'rec', ARGV[4])
return 1

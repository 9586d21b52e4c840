-- reopen.lua: a job has something to expand again.
--
-- KEYS: 1 all, 2 open, 3 live, 4 done, 5 outs, 6 sizes, 7 totals
-- ARGV: 1 job
-- Returns: 1 if it is there

local v = call('HGET', KEYS[1], ARGV[1])
if not v then return 0 end
call('ZADD', KEYS[2], unmsg(v)[2], ARGV[1])
if call('ZREM', KEYS[4], ARGV[1]) == 1 then -- it was taken as ended
  local size = call('HGET', KEYS[6], ARGV[1])
  size = size and unmsg(size) or { 0, 0 }
  if call('ZREM', KEYS[5], ARGV[1]) == 1 then call('HINCRBY', KEYS[7], 'out', -size[1]) end
  call('HINCRBY', KEYS[7], 'rec', -size[2])
  call('HDEL', KEYS[6], ARGV[1])
  call('ZADD', KEYS[3], 0, ARGV[1])
end
return 1

-- close.lua: nothing is left to expand, unless a cancel came meanwhile.
--
-- KEYS: 1 all, 2 open, 3 driver
-- ARGV: 1 job, 2 control that the caller acted on
-- Returns: 1 if closed

local v = call('HGET', KEYS[1], ARGV[1])
if v and unmsg(v)[4] ~= ARGV[2] then return 0 end
call('ZREM', KEYS[2], ARGV[1])
call('HDEL', KEYS[3], ARGV[1])
return 1

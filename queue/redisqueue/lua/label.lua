-- label.lua: sets the labels of a host, if they are still what the caller saw.
--
-- KEYS: 1 hosts, 2 ver
-- ARGV: 1 host, 2 record that the caller saw, 3 labels (packed)
-- Returns: the record now, or false if it was another

local v = call('HGET', KEYS[1], ARGV[1])
if v ~= ARGV[2] then return false end
local record = unmsg(v)
record[3] = unmsg(ARGV[3])
v = pack(record)
call('HSET', KEYS[1], ARGV[1], v)
call('HINCRBY', KEYS[2], 'ver', 1)
return v

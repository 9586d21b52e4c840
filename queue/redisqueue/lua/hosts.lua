-- hosts.lua: reads hosts with what their presence follows from.
-- flags=no-writes
--
-- KEYS: 1 own, 2 hosts, 3 facts, 4 gw
-- ARGV: 1 clock offset, 2.. host
-- Returns: now, gw as name, until, ...; then own, record, facts (false if none) of each

local t = redis.call('TIME')
local reply = { t[1] * 1000000 + t[2] + ARGV[1], redis.call('HGETALL', KEYS[4]) }
local names = {}
for i = 2, #ARGV do names[i - 1] = ARGV[i] end
if #names == 0 then return reply end
local own, record = redis.call('HMGET', KEYS[1], unpack(names)), redis.call('HMGET', KEYS[2], unpack(names))
local facts = redis.call('HMGET', KEYS[3], unpack(names))
for i = 1, #names do
  reply[#reply + 1] = own[i]
  reply[#reply + 1] = record[i]
  reply[#reply + 1] = facts[i]
end
return reply

-- hosts.lua: reads hosts with what their presence follows from.
-- flags=no-writes
--
-- KEYS: 1 own, 2 hosts, 3 facts, 4 ses, 5 gw
-- ARGV: 1 clock offset, 2.. host
-- Returns: now, gw as name, until, ...; then own, record, facts, ses (false if none) of each

local t = call('TIME')
local reply = { t[1] * 1000000 + t[2] + ARGV[1], call('HGETALL', KEYS[5]) }
local names = {}
for i = 2, #ARGV do names[i - 1] = ARGV[i] end
if #names == 0 then return reply end
local read = {}
for n = 1, 4 do read[n] = call('HMGET', KEYS[n], unpack(names)) end
for i = 1, #names do
  for n = 1, 4 do reply[#reply + 1] = read[n][i] end
end
return reply

-- tick.lua: ticks the service clock of a partition, and tells what is due.
--
-- KEYS: 7 drain
-- ARGV: 2 how many of each kind
-- Returns: members due of lease, expiry, delayed, and hosts of drain

local c = call('HMGET', K_D, 'last', 'service')
local sum, limit = service_at(c[1], c[2]), ARGV[2]
local lease = call('ZRANGEBYSCORE', K_LEASE, '-inf', sum, 'LIMIT', 0, limit)
local expiry = call('ZRANGEBYSCORE', K_EXPIRY, '-inf', now, 'LIMIT', 0, limit)
local delayed = call('ZRANGEBYSCORE', K_DELAYED, '-inf', now, 'LIMIT', 0, limit)
local drain = call('HKEYS', KEYS[7])
call('HSET', K_D, 'last', now, 'service', sum)
return { lease, expiry, delayed, drain }

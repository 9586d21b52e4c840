-- abort.lua: a submit is given up; or what it wrote is gone.
--
-- KEYS: 1 pending
-- ARGV: 1 job, 2 nonce of the call that gives up, or "" with 3 the attempt whose traces are gone
-- Returns: 1 if it was under way

local v = call('HGET', KEYS[1], ARGV[1])
if not v then return 0 end
local r = unmsg(v)
if r[1] ~= ARGV[2] then return 0 end
if r[1] ~= '' then
  call('HSET', KEYS[1], ARGV[1], pack({ '', r[2] }))
elseif r[2] == tonumber(ARGV[3]) then
  call('HDEL', KEYS[1], ARGV[1])
end
return 1

-- token.lua: counts the hosts and keys that an enrolment token has enrolled.
--
-- KEYS: 1 tok:<digest>
-- ARGV: 1 clock offset, 2 digest of host and key, 3 uses, 4 when the token expires in microseconds (0 = never),
--       5 "take" or "give"
-- Returns: "new", "again" or "used"

if ARGV[5] == 'give' then
  call('HDEL', KEYS[1], ARGV[2])
  return 'again'
end
local t = call('TIME')
local real = t[1] * 1000000 + t[2]
local expires = tonumber(call('HGET', KEYS[1], 'expires') or 0)
local gone = expires > 0 and expires <= real + ARGV[1]
if not gone then
  if call('HEXISTS', KEYS[1], ARGV[2]) == 1 then return 'again' end
  if call('HLEN', KEYS[1]) > tonumber(ARGV[3]) then return 'used' end -- one field is "expires"
else
  call('HSET', KEYS[1], 'expires', 0) -- never empty in between
  for _, f in ipairs(call('HKEYS', KEYS[1])) do
    if f ~= 'expires' then call('HDEL', KEYS[1], f) end
  end
end
call('HSET', KEYS[1], ARGV[2], 1, 'expires', ARGV[4])
if tonumber(ARGV[4]) > 0 then -- the key itself is garbage an hour later
  call('PEXPIREAT', KEYS[1], math.floor((ARGV[4] - ARGV[1]) / 1000) + 3600000)
end
return 'new'

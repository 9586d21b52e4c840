-- queue.lua: a host's executions that are neither planned nor ended, those that wait
-- for not_before last.
-- flags=no-writes
--
-- KEYS: 1 x, 2 q:<host>
-- ARGV: 1 host, 2 how many
-- Returns: job, record of each

local reply = {}
local function take(from, to)
  local members = redis.call('ZRANGEBYLEX', KEYS[2], from, to, 'LIMIT', 0, ARGV[2])
  for i = 1, #members, 1000 do
    local ids, fields = {}, {}
    for n = i, math.min(i + 999, #members) do
      ids[#ids + 1] = members[n]:sub(-26)
      fields[#fields + 1] = ARGV[1] .. '/' .. ids[#ids]
    end
    for n, v in ipairs(redis.call('HMGET', KEYS[1], unpack(fields))) do
      if v then
        reply[#reply + 1] = ids[n]
        reply[#reply + 1] = v
      end
    end
  end
end
take('-', '(3')
take('[3', '+')
return reply

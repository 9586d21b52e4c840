-- queue.lua: a host's executions that are neither planned nor ended: in flight,
-- queued, then those that wait for not_before.
-- flags=no-writes
--
-- KEYS: 1 d, 2 own, 3 q:<host>
-- ARGV: 1 host, 2 how many of each kind
-- Returns: job, record of each

local reply = {}
local function add(ids)
  for i = 1, #ids, 1000 do
    local fields = {}
    for n = i, math.min(i + 999, #ids) do fields[#fields + 1] = ARGV[1] .. '/' .. ids[n] end
    for n, v in ipairs(call('HMGET', KEYS[1], unpack(fields))) do
      if v then push(reply, ids[i + n - 1], v) end
    end
  end
end
local function take(from, to)
  local ids = call('ZRANGEBYLEX', KEYS[3], from, to, 'LIMIT', 0, ARGV[2])
  for i = 1, #ids do ids[i] = ids[i]:sub(-26) end
  add(ids)
end
local o, flying = call('HGET', KEYS[2], ARGV[1]), {}
if o then
  local list = ({ unmsg(o) })[O_FLYING]
  for i = 1, #list, 2 do flying[#flying + 1] = list[i] end
end
add(flying)
take('[q', '(r')
take('[w', '(x')
return reply

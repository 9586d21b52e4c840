-- lease.lua: what the session holds beyond `after`, then new work into free slots.
--
-- KEYS: 11 q:<host>
-- ARGV: 2 host, 3 session, 4 gateway, 5 after, 6 max, 7 ttl, 8 due, 9 seed of tokens
-- Returns: "ok", n, more, in hand, now, deliveries; a delivery is n, 1 for a cancel, job, record, token.
--          "again" if waiting work became due and was queued: call again.

local h = host(ARGV[2], KEYS[11])
local o = h.o
local after, max, ttl, due = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
if not o or o[O_DELETED] == 1 then return fail('superseded', 'no such host any more') end
if o[O_REVOKED] == 1 then return fail('forbidden', 'the host is revoked') end
if o[O_DUP] ~= 0 then return fail('duplicate', 'two machines claim this identity') end
if o[O_ACTIVE] ~= 1 or o[O_EPOCH] ~= tonumber(ARGV[3]) then return fail('superseded', 'another session owns the host') end

local late = call('ZRANGEBYLEX', h.q, '[3', '(3' .. struct.pack('>I8', now + 1), 'LIMIT', 0, 100)
if #late > 0 then
  for _, m in ipairs(late) do
    local x = load(m:sub(-26), h)
    if x and x.f[STATE] == 'q' and x.f[WAIT] == 1 then
      drop(K_DELAYED, 'zset', x.key)
      move(x, 'q')
    else
      drop(h.q, 'zset', m)
    end
  end
  finish()
  return { 'again' }
end

if o[O_TRANSPORT] ~= 'socket' then
  if o[O_GATEWAY] ~= ARGV[4] then
    drop(K_READY, 'zset', o[O_GATEWAY] .. '\0' .. h.id)
    o[O_GATEWAY], h.changed = ARGV[4], true
  end
  o[O_DUE], h.changed = due > 0 and now + due or 0, true
end
if after > o[O_N] then -- the store went back: numbers go on from what the host has seen
  o[O_N], h.changed = after, true
end

-- What the session holds.
local floor, held = math.max(after, o[O_BASE]), {}
for m in pairs(inflight(h)) do
  local x = load(m:sub(-26), h)
  if x then
    local f = x.f
    if f[STATE] == 'l' then
      if f[SESSION] == o[O_EPOCH] and f[MSG] > floor then held[#held + 1] = { f[MSG], 0, x } end
    elseif f[CANCELMSG] > floor then
      held[#held + 1] = { f[CANCELMSG], 1, x }
    end
  end
end
table.sort(held, function(a, b) return a[1] < b[1] end)
local count, more, out = 0, false, {}
for _, d in ipairs(held) do
  if count == max then
    more = true
    break
  end
  count = count + 1
  out[count] = d
end

-- New work.
local sent = more and count > 0 and out[count][1] or o[O_N]
if more and count == 0 then sent = o[O_SENT] end
local used, from, looked, fresh_n = used_slots(h), '[2', 0, 0
while not more and looked < 1000 do
  local first = next_queued(h, from)
  if not first then break end
  local lane = lane_of(first)
  local beyond = '(2' .. lane .. '\1'
  local free, at = slots_in(h, lane) - (used[lane] or 0), '[' .. first
  while free > 0 and not more do
    local page = call('ZRANGEBYLEX', h.q, at, beyond, 'LIMIT', 0, 32)
    for _, m in ipairs(page) do
      looked = looked + 1
      local x = load(m:sub(-26), h)
      if x and x.f[STATE] == 'q' and x.f[UNTIL] > now and x.f[INC] == o[O_INC] and x.j.c[C_CONTROL] == 'a' then
        if count == max then
          more = true
          break
        end
        count, free, fresh_n = count + 1, free - 1, fresh_n + 1
        local f = x.f
        o[O_N] = o[O_N] + 1
        f[MSG], f[SESSION], f[TOKEN] = o[O_N], o[O_EPOCH], ARGV[9] .. '.' .. o[O_N]
        f[LEASED], f[DELIVERIES] = now, f[DELIVERIES] + 1
        move(x, 'l')
        put(K_LEASE, 'zset', x.key, service_now() + ttl)
        out[count] = { o[O_N], 0, x }
        if free == 0 then break end
      end
    end
    if #page < 32 or looked >= 1000 then break end
    at = '(' .. page[32]
  end
  from = beyond
end
if fresh_n > 0 then sent = o[O_N] end
if sent > o[O_SENT] then o[O_SENT], h.changed = sent, true end
if fresh_n > 0 then h.changed = true end
h.touched = true

local list = {}
for _, d in ipairs(out) do
  local x = d[3]
  list[#list + 1] = { d[1], d[2], x.j.id, pack(x.f), d[2] == 0 and x.f[TOKEN] or '' }
end
local hand = 0
for _ in pairs(inflight(h)) do hand = hand + 1 end
local n = o[O_N]
finish()
return { 'ok', n, more and 1 or 0, hand, now, list }

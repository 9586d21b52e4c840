-- lease.lua: what the session holds beyond `after`, then new work into free slots.
--
-- KEYS: for each call q:<host>
-- ARGV: calls (see every): host, 1, session, gateway, after, max, ttl, due, seed of tokens
-- Returns for each: "ok", n, more, in hand, now, deliveries; a delivery is n, 1 for a cancel, job, record, token.
--       "again" if waiting work became due and was queued: call again.

local function one(c, h)
  local o, after, max, ttl, due = h.o, c[5], c[6], c[7], c[8]
  if not o or o[O_DELETED] == 1 then return { 'fail', 'superseded', 'no such host any more' } end
  if o[O_REVOKED] == 1 then return { 'fail', 'forbidden', 'the host is revoked' } end
  if o[O_DUP] ~= 0 then return { 'fail', 'duplicate', 'two machines claim this identity' } end
  if o[O_ACTIVE] ~= 1 or o[O_EPOCH] ~= c[3] then return { 'fail', 'superseded', 'another session owns the host' } end

  -- What waits for not_before is last in the queue.
  inflight(h)
  local last = h.first[#h.first]
  if last and (#h.first == PAGE or last:byte(1) == 51) then
    local late = call('ZRANGEBYLEX', h.q, '[3', '(3' .. struct.pack('>I8', now + 1), 'LIMIT', 0, 100)
    for _, m in ipairs(late) do
      local x = load(m:sub(-26), h)
      if x and x.f[STATE] == 'q' and x.f[WAIT] == 1 then
        drop(K_DELAYED, 'zset', x.key)
        move(x, 'q')
      else
        drop(h.q, 'zset', m)
      end
    end
    if #late > 0 then return { 'again' } end
  end

  if o[O_TRANSPORT] ~= 'socket' then
    if o[O_GATEWAY] ~= c[4] then
      drop(K_READY, 'zset', o[O_GATEWAY] .. '\0' .. h.id)
      o[O_GATEWAY], h.changed = c[4], true
    end
    o[O_DUE], h.changed = due > 0 and now + due or 0, true
  end
  if after > o[O_N] and after < 4e15 then -- the store went back: numbers go on from what the host has seen
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
  local used, passed, fresh_n = used_slots(h), 0, 0
  if not more then
    walk(h, function(m, class)
      if class == 1 then return nil end
      if class == 3 then return 'stop' end
      local lane = lane_of(m)
      local n = used[lane] or 0
      if n >= slots_in(h, lane) then return 'lane' end
      local x = load(m:sub(-26), h)
      local f = x and x.f
      if not x or f[STATE] ~= 'q' or f[UNTIL] <= now or f[INC] ~= o[O_INC] or x.j.c[C_CONTROL] ~= 'a' then
        passed = passed + 1 -- a sweep will end it; very many aren't this call's to look through
        return passed > 1000 and 'stop' or nil
      end
      if count == max then
        more = true
        return 'stop'
      end
      used[lane], count, fresh_n = n + 1, count + 1, fresh_n + 1
      o[O_N] = o[O_N] + 1
      f[MSG], f[SESSION], f[TOKEN] = o[O_N], o[O_EPOCH], c[9] .. '.' .. o[O_N]
      f[LEASED], f[DELIVERIES] = now, f[DELIVERIES] + 1
      move(x, 'l')
      put(K_LEASE, 'zset', x.key, service_now() + ttl)
      out[count] = { o[O_N], 0, x }
    end)
  end
  if fresh_n > 0 then sent = o[O_N] end
  if sent > o[O_SENT] then o[O_SENT], h.changed = sent, true end
  if fresh_n > 0 then h.changed = true end
  h.touched = true

  local list = {}
  for _, d in ipairs(out) do
    local x = d[3]
    x.packed = pack(x.f)
    list[#list + 1] = { d[1], d[2], x.j.id, x.packed, d[2] == 0 and x.f[TOKEN] or '' }
  end
  local hand = 0
  for _ in pairs(inflight(h)) do hand = hand + 1 end
  return { 'ok', o[O_N], more and 1 or 0, hand, now, list }
end

return every(one)

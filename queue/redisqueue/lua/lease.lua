-- lease.lua: what the session holds beyond `after`, then new work into free slots.
--
-- KEYS: for each call q:<host>, hosts
-- ARGV: calls (see every): host, 2, session, gateway, after, max, ttl, due, seed of tokens, member to look after
-- Returns for each: "ok", n, more, in hand, now, deliveries: n, 1 for a cancel, job, record, ...
--       "again", member to look after: there was much that can't be delivered; what was found is held, call again.

local LOOK = 100 -- undeliverable ones that a call looks at

-- Gives what came due since the last sweep its place in the queue, some at a time; it waits at the queue's end.
local function wake(h)
  local list = first_page(h.q)
  local last = list[#list]
  if not last or (#list < PAGE and last:byte(1) ~= 119) then return false end
  local late = call('ZRANGEBYLEX', h.q, '[w', '(w' .. struct.pack('>I8', now + 1), 'LIMIT', 0, LOOK)
  for i = 1, #late do
    local x = load(late[i]:sub(-26), h)
    if x and x.f[STATE] == 'q' and x.f[WAIT] == 1 then
      move(x, 'q', 0)
    else
      alter(h, 'del', late[i])
    end
  end
  return #late > 0
end

-- What the session holds beyond floor: number, 1 for a cancel, execution.
local function holds(h, floor)
  local held, o = {}, h.o
  if o[O_N] <= floor then return held end
  for _, id in ipairs(flying(h)) do
    local x = load(id, h)
    local f = x and x.f
    if f and f[STATE] == 'l' then
      if f[SESSION] == o[O_EPOCH] and f[MSG] > floor then held[#held + 1] = { f[MSG], 0, x } end
    elseif f and f[CANCELMSG] > floor then
      held[#held + 1] = { f[CANCELMSG], 1, x }
    end
  end
  table.sort(held, function(a, b) return a[1] < b[1] end)
  return held
end

-- Adds new work to out, up to max; gives whether there is more, and where to go on if much was passed over.
local function fetch(h, c, out, max, labels)
  local o, more, on, passed, count = h.o, false, nil, 0, #out
  walk(h, c[10], function(m)
    local lane = lane_of(m)
    if not has_slot(h, lane) then return 'lane' end
    local x = load(m:sub(-26), h)
    local f = x and x.f
    if f and f[STATE] == 'q' and f[UNTIL] > now and f[INC] == o[O_INC] and x.j.c[C_CONTROL] == 'a' then
      if count == max then
        more = true
        return 'stop'
      end
      if not still_matches(x.j, h, labels) then
        withdraw(x, WHY_UNSELECTED)
        passed = passed + 1
        if passed < LOOK then return nil end
        on = m
        return 'stop'
      end
      count, o[O_N] = count + 1, o[O_N] + 1
      grow(f, TOKEN)
      f[MSG], f[SESSION], f[TOKEN] = o[O_N], o[O_EPOCH], count == 1 and c[9] or c[9] .. '.' .. count
      f[LEASED], f[DELIVERIES] = now, f[DELIVERIES] + 1
      move(x, 'l', 0, service_now() + c[7])
      out[count] = { o[O_N], 0, x }
      return nil
    end
    if not x then
      alter(h, 'del', m)
    elseif f[STATE] == 'q' and f[UNTIL] <= now then
      ended(x, 'e', -1, '', WHY_EXPIRED, now)
    end
    passed = passed + 1
    if passed < LOOK then return nil end
    on = m
    return 'stop'
  end)
  return more, on
end

local function one(c, h, at)
  local o, last, max, due = h.o, c[5], c[6], c[8]
  if not o or o[O_DELETED] == 1 then return { 'fail', 'superseded', 'no such host any more' } end
  if o[O_REVOKED] == 1 then return { 'fail', 'forbidden', 'the host is revoked' } end
  if o[O_DUP] ~= 0 then return { 'fail', 'duplicate', 'two machines claim this identity' } end
  if o[O_ACTIVE] ~= 1 or o[O_EPOCH] ~= c[3] then return { 'fail', 'superseded', 'another session owns the host' } end
  if wake(h) then return { 'again', c[10] } end

  if o[O_TRANSPORT] ~= 'socket' then
    if o[O_GATEWAY] ~= c[4] then
      push(unreadies, o[O_GATEWAY] .. '\0' .. h.id)
      o[O_GATEWAY] = c[4]
    end
    o[O_DUE], o[O_UNTIL], h.changed = due > 0 and now + due or 0, due > 0 and service_now() + due or 0, true
  end
  if last > o[O_N] and last < 4e15 then -- the store went back: numbers go on from what the host has seen
    o[O_N], h.changed = last, true
  end

  local list, more, sent, on = holds(h, math.max(last, o[O_BASE])), false, 0, nil
  if #list > max then
    more = true
    for i = #list, max + 1, -1 do list[i] = nil end
    if max > 0 then sent = list[max][1] end
  else
    more, on = fetch(h, c, list, max, KEYS[at + 1])
    if on then return { 'again', on } end
    sent = o[O_N]
  end
  if sent > o[O_SENT] then o[O_SENT], h.changed = sent, true end
  h.recheck = true

  local out = {}
  for i = 1, #list do
    local n, is_cancel, x = list[i][1], list[i][2], list[i][3]
    x.packed = packed(x.f)
    push(out, n, is_cancel)
    push(out, x.j.id, x.packed)
  end
  return { 'ok', o[O_N], more and 1 or 0, #o[O_FLYING] / 2, now, out }
end

-- The first in the queue is what will be leased, mostly.
local function needs(c, q, fields, seen)
  local m = first_page(q)[1]
  if m and m:byte(1) == 113 then need(fields, seen, c[1], m:sub(-26)) end
end

-- A host on a socket that has nothing in hand and one execution in its queue, which was never leased.
local function quick(c, q)
  local v, page = own_read[c[1]], first_page(q)
  local m = page[1]
  if not v or #page ~= 1 or m:byte(1) ~= 113 or c[6] < 1 then return nil end
  local inc, revoked, deleted, dup, epoch, active, gateway, transport, due, n, base, sent, cancelmsg, slots, list = unmsg(v)
  if epoch ~= c[3] or active ~= 1 or revoked + deleted + dup ~= 0 or transport ~= 'socket' or #list > 0 or cancelmsg > sent
    or n < c[5] then return nil end
  local id, lane = m:sub(-26), lane_of(m)
  local key = c[1] .. '/' .. id
  local was, j = d_read[key], job(id)
  if not was or not j or (slots[lane] or 1) < 1 or j.c[C_CONTROL] ~= 'a' or j.s[S_RECHECK] then return nil end
  local state, idx, at, wait, released, till, more = unmsg(was)
  if more or state ~= 'q' or till <= now or at ~= inc then return nil end

  n = n + 1
  local is = pack('l', idx, inc, wait, released, till, now, 1, n, epoch, c[9])
  push(d_set, key, is)
  push(own_set, c[1], pack(inc, 0, 0, 0, epoch, 1, gateway, transport, due, n, base, n, cancelmsg, slots, { id, lane }))
  push(leases, text_of(service_now() + c[7]), key)
  push(unexpiries, key)
  push(unreadies, gateway .. '\0' .. c[1])
  push(q_dels, q, m)
  count(j, 'q', 'l')
  j.c[C_REC] = j.c[C_REC] + #is - #was
  set_state(j, idx, 'l')
  return { 'ok', n, 0, 1, now, { n, 0, id, is } }
end

return one, needs, quick

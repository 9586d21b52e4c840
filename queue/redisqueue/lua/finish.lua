-- finish.lua: follows execution.lua; what a call has changed is written.

-- Writes everything; gives the hints to send: gateway, host, ... A host that is
-- ready and has news gets one; h.tell names a gateway that gets one anyway.
local function finish()
  for i = 1, #changed do
    local x = changed[i]
    local f, j, h, was = x.f, x.j, x.h, x.was
    local is, wait, v = f[STATE], f[WAIT], x.packed or packed(f)
    j.c[C_REC], j.changed = j.c[C_REC] + #v - x.size, true
    push(d_set, x.key, v)
    if was ~= is then
      count(j, was, is)
      set_state(j, f[IDX], is)
    end
    if was == 'q' and (is ~= 'q' or wait ~= x.waited) then
      alter(h, 'del', place(j, x.waited))
      if is ~= 'q' then push(unexpiries, x.key) end
      if x.waited == 1 then push(undelays, x.key) end
    end
    if is == 'q' and (was ~= 'q' or wait ~= x.waited) then
      alter(h, 'add', place(j, wait))
      if was ~= 'q' then push(expiries, text_of(f[UNTIL]), x.key) end
      if wait == 1 then push(delays, text_of(j.s[S_NOTBEFORE]), x.key) end
    end
    if x.deadline then
      push(leases, text_of(x.deadline), x.key)
    elseif FLIES[was] and not FLIES[is] then
      push(unleases, x.key)
    end
  end

  for id, h in pairs(hosts) do
    local o = h.o
    if o and h.changed then push(own_set, id, packed(o)) end
    if h.tell then push(hints, h.tell, id) end
    if o and o[O_GATEWAY] ~= '' and (h.recheck or h.add or h.del) then
      local name = o[O_GATEWAY] .. '\0' .. id
      if is_ready(h) then
        push(readies, '0', name)
        if h.hint then push(hints, o[O_GATEWAY], id) end
      else
        push(unreadies, name)
      end
    end
  end
  job_writes(d_set)

  send('HSET', K_D, d_set)
  send('HSET', K_OWN, own_set)
  send('ZADD', K_LEASE, leases)
  send('ZREM', K_LEASE, unleases)
  send('ZADD', K_EXPIRY, expiries)
  send('ZREM', K_EXPIRY, unexpiries)
  send('ZADD', K_DELAYED, delays)
  send('ZREM', K_DELAYED, undelays)
  send('ZADD', K_READY, readies)
  send('ZREM', K_READY, unreadies)
  for i = 1, #q_adds, 2 do call('ZADD', q_adds[i], '0', q_adds[i + 1]) end
  for i = 1, #q_dels, 2 do call('ZREM', q_dels[i], q_dels[i + 1]) end
  for _, h in pairs(hosts) do
    local args = {}
    for m in pairs(h.add or {}) do push(args, '0', m) end
    send('ZADD', h.q, args)
    args = {}
    for m in pairs(h.del or {}) do push(args, m) end
    send('ZREM', h.q, args)
  end
  for i = 1, #later do send(later[i][1], later[i][2], later[i][3]) end
  return hints
end

-- The busy verbs (claim, release, lease, record) take calls for several hosts, none
-- twice: ARGV 2.. are packed calls whose first field is the host, the second how many keys of
-- the call's own follow in KEYS. The answer is { answer of each }, hints; one
-- that failed is "fail", code, text.
--
-- A verb's file gives `one`, which does a call, and may give `needs`, which names by need() what a
-- call will look at, so that it is read at once, and `quick`, which does a call of the usual kind
-- without the tables that all else takes, or gives nil before it has changed anything.
local function every(one, needs, quick)
  local calls, keys, names, replies, fields, seen = {}, {}, {}, {}, { 'last', 'service' }, {}
  local at = 7
  for i = 2, #ARGV do
    local c = unmsg(ARGV[i])
    calls[i - 1], names[i - 1], keys[i - 1] = c, c[1], at
    at = at + c[2]
  end
  read_hosts(names)
  if needs then
    for i = 1, #calls do needs(calls[i], KEYS[keys[i]], fields, seen) end
  end
  read_ahead(fields)
  for i = 1, #calls do
    local c, at = calls[i], keys[i]
    local q = c[2] > 0 and KEYS[at]
    replies[i] = quick and QUICK == 1 and quick(c, q) or one(c, host(c[1], q), at)
  end
  return { replies, finish() }
end
-- For needs: that the call will look at an execution.
local function need(fields, seen, host, id)
  local n = #fields
  fields[n + 1] = host .. '/' .. id
  if not seen[id] then
    seen[id], fields[n + 2], fields[n + 3] = true, 's' .. id, 'c' .. id
  end
end

-- host.lua: follows common.lua; a host, its queue, its slots.

-- A host of the call. h.o is its record in own, false if it has none; o[O_FLYING] names what is
-- in flight: job, lane, job, lane, ... Its queue (h.q) has what is queued.
-- h.add and h.del are what finish() changes in the queue; h.changed has it write o, h.recheck see
-- whether the host is ready, which it does too where the queue changes; h.hint says that there are news, h.tell
-- names a gateway that gets a hint anyway.
local function host(id, q)
  local h = hosts[id]
  if not h then
    local v = own_read[id]
    if v == nil then v = call('HGET', K_OWN, id) end
    h = { id = id, q = q, o = v and { unmsg(v) } or false, add = false, del = false,
      changed = false, recheck = false, hint = false, tell = false, labels = false } -- all fields at once: a table that grows is slow
    hosts[id] = h
  end
  return h
end
-- Reads many hosts at once; host() makes them.
local function read_hosts(names)
  for i, v in ipairs(call('HMGET', K_OWN, unpack(names))) do own_read[names[i]] = v end
end

-- The rest of a host's session, in ses.
local function session_of(h, key)
  local v = call('HGET', key, h.id)
  return v and { unmsg(v) } or { 0, '', '', '', '', {} }
end
local function since(h, key) -- from now on it is as it is
  local e = session_of(h, key)
  e[E_SINCE] = now
  after('HSET', key, h.id, packed(e))
end

local function alter(h, what, member)
  local t = h[what]
  if not t then
    t = {}
    h[what] = t
  end
  t[member] = true
end

local function lane_of(member) return member:sub(2, member:find('\0', 2, true) - 1) end

-- The first members of a queue, as they were before the call.
local PAGE = 32
local function first_page(q)
  local list = pages[q]
  if not list then
    list = call('ZRANGEBYLEX', q, '-', '+', 'LIMIT', '0', '32')
    pages[q] = list
  end
  return list
end

-- Calls fn for what is queued, in order, after a member ('' = from the first). fn gives
-- 'stop', or 'lane' to skip the rest of the member's lane.
local function walk(h, from, fn)
  local list = from == '' and first_page(h.q) or call('ZRANGEBYLEX', h.q, '(' .. from, '+', 'LIMIT', 0, PAGE)
  local skip
  while true do
    for i = 1, #list do
      local m = list[i]
      if m:byte(1) ~= 113 then return end -- the rest waits for not_before
      if skip and m:sub(1, #skip) ~= skip then skip = nil end
      if not skip and not (h.del and h.del[m]) then
        local what = fn(m)
        if what == 'stop' then return end
        if what == 'lane' then skip = m:sub(1, m:find('\0', 2, true)) end
      end
    end
    if #list < PAGE then return end
    from = skip and skip:sub(1, -2) .. '\1' or list[PAGE]
    list = call('ZRANGEBYLEX', h.q, '(' .. from, '+', 'LIMIT', 0, PAGE)
  end
end

-- The jobs that a host has in flight: a copy, since what ends leaves the host's own list.
local function flying(h)
  local ids, list = {}, h.o and h.o[O_FLYING] or {}
  for i = 1, #list, 2 do ids[#ids + 1] = list[i] end
  return ids
end
local function take_off(h, id, lane)
  local list = h.o and h.o[O_FLYING]
  if not list then return end
  list[#list + 1] = id
  list[#list + 1] = lane
  h.changed = true
end
local function land(h, id)
  local list = h.o and h.o[O_FLYING]
  if not list then return end
  for i = 1, #list, 2 do
    if list[i] == id then
      table.remove(list, i + 1)
      table.remove(list, i)
      h.changed, h.recheck = true, true
      return
    end
  end
end
local function used_in(h, lane)
  local list, n = h.o[O_FLYING], 0
  for i = 2, #list, 2 do
    if list[i] == lane then n = n + 1 end
  end
  return n
end
local function has_slot(h, lane) return used_in(h, lane) < (h.o[O_SLOTS][lane] or 1) end

local function serves(h)
  local o = h.o
  return o and o[O_ACTIVE] == 1 and o[O_DUP] == 0 and o[O_REVOKED] == 0
end

-- Whether a Lease for the host would give something.
local function is_ready(h)
  if not serves(h) then return false end
  if h.o[O_CANCELMSG] > h.o[O_SENT] then return true end
  if h.add then
    for m in pairs(h.add) do
      if m:byte(1) == 113 and has_slot(h, lane_of(m)) then return true end
    end
  end
  local found, page = false, first_page(h.q)
  if #page == 0 or (#page == 1 and h.del and h.del[page[1]]) then return false end
  walk(h, '', function(m)
    found = has_slot(h, lane_of(m))
    return found and 'stop' or 'lane'
  end)
  return found
end

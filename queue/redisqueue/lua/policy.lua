-- policy.lua: follows execution.lua; what a job asks for where its host is offline, where a newer job
-- replaces it, and where the host's labels have changed: Spec.Offline, SupersedeKey, Recheck.
--
-- Of a job's fixed part: S_SKIP is 1 to skip hosts that are offline; S_SCOPE what it shares with the jobs that it
-- replaces, '' = nothing; S_RECHECK the requirements that a host's labels are to meet: { key, 1 or 0 if it is not to, values }.

-- Whether a host is offline. What it is measured by counts in service time, so that an outage makes nobody offline; on the store's
-- clock only if it was written by a version that had nothing else.
local function is_offline(h, gw)
  local o = h.o
  if not o or o[O_ACTIVE] ~= 1 then return true end
  if o[O_TRANSPORT] ~= 'socket' then
    if o[O_UNTIL] then return o[O_UNTIL] <= service_now() end
    return o[O_DUE] <= now
  end
  local name = o[O_GATEWAY]
  local off = gateways[name]
  if off == nil then
    local v = call('HMGET', gw, name, '\0' .. name)
    local service = tonumber(v[2] or nil)
    if service then off = service <= service_now() else off = tonumber(v[1] or 0) <= now end
    gateways[name] = off
  end
  return off
end

-- queue.Held.Withdraw: ends what isn't delivered, flags what is leased.
local function withdraw(x, why)
  local f = x.f
  if f[STATE] == 'p' or f[STATE] == 'q' then
    ended(x, 'c', -1, '', why, now)
  elseif f[STATE] == 'l' and f[CANCELLED] == 0 then
    f[CANCELLED], f[WHY] = now, why
    touch(x)
  end
end

-- What tells which of two jobs of a scope is newer: its age, its id. It is remembered for each host, in d, until the
-- job's record goes: <host>/<scope> -> stamp of the newest job that was released there.
local function stamp(j) return struct.pack('>I8', j.s[S_CREATED]) .. j.id end
local function before(a, b) -- in order of their bytes, which Lua's own comparison isn't in each locale
  for i = 1, math.min(#a, #b) do
    local x, y = a:byte(i), b:byte(i)
    if x ~= y then return x < y end
  end
  return #a < #b
end
local function scope_of(j) return j.s[S_SCOPE] or '' end

-- Reads at once what hosts remember of a job's scope, and the executions that it names.
local function read_newest(j, names)
  local fields, olds, seen = {}, {}, {}
  for i = 1, #names do fields[i] = names[i] .. '/' .. scope_of(j) end
  read_ahead(fields)
  for i = 1, #names do
    local newest = d_read[fields[i]]
    if newest then
      local id = newest:sub(9)
      olds[#olds + 1] = names[i] .. '/' .. id
      if not seen[id] then
        seen[id], olds[#olds + 1], olds[#olds + 2] = true, 's' .. id, 'c' .. id
      end
    end
  end
  if #olds > 0 then read_ahead(olds) end
end

-- Why an execution that is to be released is to end instead, since a newer job was released on its host; nil if none was.
local function superseded(x)
  local newest = read(x.h.id .. '/' .. scope_of(x.j))
  if newest and before(stamp(x.j), newest) then return WHY_SUPERSEDED .. newest:sub(9) end
end

-- Makes a job the newest of its scope on the host, and withdraws the one before.
local function supersede(x)
  local field = x.h.id .. '/' .. scope_of(x.j)
  local newest = read(field)
  local old = newest and load(newest:sub(9), x.h)
  if old and old ~= x then withdraw(old, WHY_SUPERSEDED .. x.j.id) end
  push(d_set, field, stamp(x.j))
end

-- Whether a host's labels are what the job asks for, as queue.Selector.Matches has it.
local function still_matches(j, h, key)
  local rs = j.s[S_RECHECK]
  if not rs or #rs == 0 then return true end
  if not h.labels then
    local v = call('HGET', key, h.id)
    h.labels = v and unmsg(v)[3] or {}
  end
  for i = 1, #rs do
    local v, values = h.labels[rs[i][1]], rs[i][3]
    local hit = v ~= nil and #values == 0
    for n = 1, #values do hit = hit or v == values[n] end
    if hit ~= (rs[i][2] == 1) then return false end
  end
  return true
end

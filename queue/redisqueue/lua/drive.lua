-- drive.lua: makes the caller the driver of a job's expansion.
--
-- KEYS: 1 all, 2 open, 3 driver
-- ARGV: 1 clock offset, 2 job, 3 driver, 4 timeout in microseconds
-- Returns: "none"; "done"; "busy"; or "drive", commit record

local v = call('HGET', KEYS[1], ARGV[2])
if not v then return { 'none' } end
if not call('ZSCORE', KEYS[2], ARGV[2]) then return { 'done' } end
local t = call('TIME')
local now = t[1] * 1000000 + t[2] + ARGV[1]
local old = call('HGET', KEYS[3], ARGV[2])
if old then
  local d = unmsg(old)
  if d[1] ~= ARGV[3] and now - d[2] < tonumber(ARGV[4]) and now >= d[2] then return { 'busy' } end
end
call('HSET', KEYS[3], ARGV[2], pack({ ARGV[3], now }))
return { 'drive', v }

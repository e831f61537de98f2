-- Charges several quotas of one caller: all of them, or none. A caller that wants more than it needs
-- gets a part of what is available; that is all the script knows of leases.
--
-- KEYS  one per quota. Its value is the TAT: when all permits will be refilled, in nanoseconds since the
--       Unix epoch.
-- ARGV  the action: "acquire" (all or none), "peek" (decide, and change nothing) or "charge" (in any
--       case); then per quota: the cost of one permit and of the whole burst in nanoseconds, the permits
--       that are needed, the permits that are wanted, and how many must be available for any to be
--       granted.
-- Returns 1 if every quota granted, otherwise 0; and per quota the debt before, in nanoseconds, and the
-- granted permits.
--
-- Numbers in Lua are doubles. Seconds and nanoseconds are kept apart, so that no nanosecond is lost.
--
-- A value that this script did not write counts as no debt: garbage under one key must not stop that
-- caller, nor all others.

-- A node gets at most this part of what is available, unless it needs more.
local SHARE = 4

local action = ARGV[1]
-- All processes use the clock of the server.
local time = redis.call('TIME')
local seconds, nanos = tonumber(time[1]), tonumber(time[2]) * 1000

-- Stores a debt. The key expires when the debt is paid back, after 1 ms at least: Redis rejects 0.
local function keep(key, owed)
  local sum = nanos + owed
  local rest = math.fmod(sum, 1e9)
  local arrival = string.format('%.0f%09.0f', seconds + (sum - rest) / 1e9, rest)
  redis.call('SET', key, arrival, 'PX', string.format('%.0f', math.max(1, math.ceil(owed / 1e6))))
end

local all, reply, after = 1, {}, {}
for i, key in ipairs(KEYS) do
  local at = 5 * i - 3
  local interval, capacity = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local need, want, least = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])

  local owed = 0
  local arrival = redis.pcall('GET', key)
  local at_second, at_nano = string.match(type(arrival) == 'string' and arrival or '', '^(%d+)(%d%d%d%d%d%d%d%d%d)$')
  if at_second then
    owed = math.max(0, (tonumber(at_second) - seconds) * 1e9 + (tonumber(at_nano) - nanos))
    -- A larger debt than possible means that the server's clock was set back, or that another server
    -- took over. It is cut for good, or the caller would be refused until the clock catches up.
    if owed > 2 * capacity then
      owed = 2 * capacity
      keep(key, owed)
    end
  end

  local permits
  if action == 'charge' then
    permits = need
    after[i] = math.max(owed, math.min(owed + need * interval, 2 * capacity))
  else
    local room = capacity - owed
    if room < math.max(need, least) * interval then
      all = 0
    end
    permits = math.min(want, math.max(need, math.floor(room / interval / SHARE)))
    after[i] = owed + permits * interval
  end
  reply[2 * i], reply[2 * i + 1] = owed, permits
end
reply[1] = all

if all == 1 and action ~= 'peek' then
  for i, key in ipairs(KEYS) do
    if reply[2 * i + 1] > 0 then
      keep(key, after[i])
    end
  end
end
return reply

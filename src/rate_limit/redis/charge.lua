-- Charges several quotas of one caller: all of them, or none. Knows no more than this of leases: whoever wants more than it
-- needs gets a part of what is there.
--
-- KEYS  one for each quota. Its value: when all permits will be back, in nanoseconds since the Unix epoch.
-- ARGV  what to do: "acquire", "peek" (decide, and change nothing) or "charge" (charge, and ask nobody); then for each
--       quota: what a permit and what the whole burst costs in nanoseconds, how many permits are needed, how many are
--       wanted, and how many must be there for any to be given.
-- Returns 1 if all was granted, else 0; and for each quota what was owed before, in nanoseconds, and the permits granted.
--
-- Lua's numbers are doubles. Seconds and nanoseconds are kept apart, or the nanoseconds would be lost.
--
-- A value that this script did not write is none: what another program put there must not stop the caller, nor all others.

-- Nobody gets more than this part of what is there, unless he needs it.
local SHARE = 4

local action = ARGV[1]
-- The server's clock is everybody's.
local time = redis.call('TIME')
local seconds, nanos = tonumber(time[1]), tonumber(time[2]) * 1000

-- Remembers what is owed. It expires when it no longer differs from a key that was never there; never at once, which
-- Redis calls an error.
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
    -- More than can ever be owed is owed only after the server's clock was set back, or another server took over. It is
    -- forgotten for good, or the caller would be refused until the clock is where it was.
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

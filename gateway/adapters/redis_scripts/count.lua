-- Count any number of things in one step, by the server's clock: sliding windows (two fixed windows, weighted), sums
-- that decay, and what owners hold.
-- KEYS[i]      a hash. window: b number of the fixed window, c its count, p the count of the one before.
--              decay: t time of the sum, ms, and c the sum. held: owner -> "<end of the lease, ms>:<number>"
-- ARGV[6i-5]   window, decay or held
-- ARGV[6i-4]   amount to add; held: the owner's number from now on
-- ARGV[6i-3]   window, half-life or lease, ms
-- ARGV[6i-2]   limit; 0: none. If any key with a limit would go over it, nothing is added to those that have one
-- ARGV[6i-1]   owner (held only; empty: look)
-- ARGV[6i]     1: take all away first
-- result       for each key, as text (Redis would cut numbers): what is counted now, additions held back included
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local result, writes, over = {}, {}, false

local function held(key, owner, number, lease)
  local sum, gone, last, all = 0, {}, now, redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    local ends, count = string.match(all[i + 1], '^(%d+):(.*)$')
    if tonumber(ends) <= now or all[i] == owner then
      gone[#gone + 1] = all[i]
    else
      sum, last = sum + tonumber(count), math.max(last, tonumber(ends))
    end
  end
  if owner == '' then
    return sum
  end
  local holds = number > 0
  return sum + (holds and number or 0), function()
    if #gone > 0 then
      redis.call('HDEL', key, unpack(gone))
    end
    if holds then
      redis.call('HSET', key, owner, string.format('%.0f:%s', now + lease, number))
      redis.call('PEXPIREAT', key, string.format('%.0f', math.max(last, now + lease)))
    end
  end
end

local function decay(key, amount, half)
  local kept = redis.call('HMGET', key, 't', 'c')
  local sum = amount
  if kept[1] then
    sum = sum + tonumber(kept[2]) * 0.5 ^ (math.max(0, now - tonumber(kept[1])) / half)
  end
  return sum, function()
    redis.call('HSET', key, 't', string.format('%.0f', now), 'c', tostring(sum))
    -- a 4,096th is left then
    redis.call('PEXPIRE', key, string.format('%.0f', 12 * half))
  end
end

local function window(key, amount, length)
  local bucket = math.floor(now / length)
  local kept = redis.call('HMGET', key, 'b', 'c', 'p')
  local last, current, previous = tonumber(kept[1] or bucket), tonumber(kept[2] or 0), tonumber(kept[3] or 0)
  if last ~= bucket then
    previous = (last == bucket - 1) and current or 0
    current = 0
  end
  current = current + amount
  return math.max(0, current + previous * (1 - (now % length) / length)), function()
    redis.call('HSET', key, 'b', string.format('%.0f', bucket), 'c', tostring(current), 'p', tostring(previous))
    redis.call('PEXPIRE', key, 2 * length)
  end
end

for i = 1, #KEYS do
  local kind, amount, length = ARGV[6 * i - 5], tonumber(ARGV[6 * i - 4]), tonumber(ARGV[6 * i - 3])
  local limit, owner = tonumber(ARGV[6 * i - 2]), ARGV[6 * i - 1]
  if ARGV[6 * i] == '1' then
    redis.call('DEL', KEYS[i])
  end
  local number, write
  if kind == 'held' then
    number, write = held(KEYS[i], owner, amount, length)
  elseif kind == 'decay' then
    number, write = decay(KEYS[i], amount, length)
  else
    number, write = window(KEYS[i], amount, length)
  end
  if limit > 0 and number > limit then
    over = true
  end
  if write and (amount ~= 0 or owner ~= '') then
    writes[#writes + 1] = {limit > 0, write}
  end
  result[i] = tostring(number)
end
for _, one in ipairs(writes) do
  if not (over and one[1]) then
    one[2]()
  end
end
return result

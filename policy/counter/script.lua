-- One report of one replica about one counter. KEYS: what was used, what is leased. ARGV:
--   1 algorithm   2 cap   3 limit   4 window   5 id of the lease   6 whose, for people   7 number of the report
--   8 spent ever  9 of that acknowledged   10 have   11 held   12 want   13 somebody waits for   14 at least
--   15 time to live   16 begin and 17 end of the calendar's window   18 window last seen   19 used in it
--   20 used in it by this lease   21 will probably be used at once   22 now, or ""
--   23 for so long data may be missing: Redis lost it
-- Amounts are whole, times are microseconds. Nothing is lost or counted twice when reports are: spent is cumulative, and a
-- report that was seen before, or that a later one has overtaken, changes nothing.
local SUBS = 256
local state, leases = KEYS[1], KEYS[2]
local algorithm, id = ARGV[1], ARGV[5]
local function arg(i) return tonumber(ARGV[i]) end
local function whole(n) return string.format('%.0f', n) end
local cap, limit, window, seq, spent = arg(2), arg(3), arg(4), arg(7), arg(8)
local have, held, want, need, least, ttl = arg(10), arg(11), arg(12), arg(13), arg(14), arg(15)
local now = arg(22)
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000000 + t[2]
end

-- The leases of the others count as used as long as they hold.
local others, live, mine = 0, 1, nil
local all = redis.call('HGETALL', leases)
for i = 1, #all, 2 do
  local s, c, lease, till, seen, label = string.match(all[i + 1], '^(%d+) (%d+) (%d+) (%d+) (%d+)(.*)')
  lease, till, seen = tonumber(lease), tonumber(till), tonumber(seen)
  if seen > now + 10000000 then -- the clock was ahead: the lease is as if reported now
    till, seen = now + till - seen, now
    redis.call('HSET', leases, all[i], string.format('%s %s %.0f %.0f %.0f%s', s, c, lease, till, seen, label))
  end
  if all[i] == id then
    mine = {seq = tonumber(s), spent = tonumber(c), lease = lease}
  elseif seen < now - 3600000000 then
    redis.call('HDEL', leases, all[i])
  elseif till > now and lease > 0 then
    others, live = others + lease, live + 1
  elseif seen > now - 2000000 then
    live = live + 1
  end
end
if mine and seq < mine.seq then return {-1} end
local again = mine and seq == mine.seq
local new = spent - arg(9)
if mine then new = spent - mine.spent end

-- What was used, by algorithm. add counts what is new; gone tells when some of what is used no longer is.
local kept = redis.call('HMGET', state, 'u', 't', 'n', 'a', 'w', 'e', 'h', 'q', 'o')
local used, hungry, quiet = tonumber(kept[1] or 0), tonumber(kept[7] or 0), tonumber(kept[8] or 0)
if hungry > now + 1000000 then hungry = 0 end
if quiet > now + 5000000 then
  quiet = now + 1200000
  redis.call('HSET', state, 'q', whole(quiet))
end
local add, gone, reset, keep = nil, nil, 0, 60000000
local seen = 0
if algorithm == 'sliding' then
  local sub = math.ceil(window / SUBS)
  local first, last = tonumber(kept[2] or 0), tonumber(kept[3] or 0)
  local at = math.max(math.floor(now / sub), last)
  if last > math.floor(now / sub) + SUBS then -- the clock was ahead: all that was used is as if used now
    redis.call('DEL', state)
    at = math.floor(now / sub)
    first, last = at, at
    if used > 0 then redis.call('HSET', state, 'b' .. whole(at), whole(used)) end
  end
  local oldest = at - SUBS
  if last < oldest then
    if used > 0 then redis.call('DEL', state) end
    used, first = 0, at
  elseif first < oldest then
    for i = first, oldest - 1 do
      local field = 'b' .. whole(i)
      local n = redis.call('HGET', state, field)
      if n then
        used = used - tonumber(n)
        redis.call('HDEL', state, field)
      end
    end
    first = oldest
  end
  add = function()
    if new > 0 then
      redis.call('HINCRBY', state, 'b' .. whole(at), whole(new))
      used, last = used + new, at
    end
    redis.call('HSET', state, 'u', whole(used), 't', whole(first), 'n', whole(last))
    if used > 0 then reset = (last + SUBS + 1) * sub - now end
  end
  gone = function(n)
    for i = first, last do
      n = n - tonumber(redis.call('HGET', state, 'b' .. whole(i)) or 0)
      if n <= 0 then return (i + SUBS + 1) * sub - now end
    end
    return 0
  end
  keep = 2 * window + keep
elseif algorithm == 'bucket' then
  used = math.max(0, used - math.max(0, now - tonumber(kept[4] or now)) * limit / window)
  add = function()
    used = used + new
    redis.call('HSET', state, 'u', string.format('%.17g', used), 'a', whole(now))
    reset = math.ceil(used * window / limit)
    keep = reset + keep
  end
  gone = function(n) return math.ceil(n * window / limit) end
elseif algorithm == 'calendar' then
  local begin, finish = tonumber(kept[5] or arg(16)), tonumber(kept[6] or arg(17))
  local sum = tonumber(kept[9]) -- by all that told since the data was lost
  if arg(16) > begin and now >= arg(16) then
    begin, finish, used, sum = arg(16), arg(17), 0, nil
    redis.call('HDEL', state, 'o')
  end
  -- A Redis that lost its data does not begin anew. It leases nothing until all replicas told what they have.
  local told = 0
  if arg(18) == begin then told = arg(19) end
  if not kept[5] and (told > 0 or arg(23) > 0) then quiet, sum = now + 1200000, 0 end
  if arg(23) > 0 then quiet = math.max(quiet, now + arg(23)) end
  if quiet > now then redis.call('HSET', state, 'q', whole(quiet)) end
  used = math.max(used, told)
  seen = begin
  add = function()
    used = used + new
    if sum then
      sum = sum + (mine and new or arg(20))
      used = math.max(used, sum)
      redis.call('HSET', state, 'o', whole(sum))
    end
    redis.call('HSET', state, 'u', whole(used), 'w', whole(begin), 'e', whole(finish))
    reset = math.max(0, finish - now)
    keep = reset + 3600000000 + keep
  end
  gone = function() return math.max(0, finish - now) end
else
  add = function() used = 0 end
  gone = function() return 0 end
end
if again then new = 0 end
add()

-- What a replica has it keeps, unless it offers it. More it gets as far as there is more: what somebody waits for, what it
-- uses at once, or a fair share, whichever is most. A need that cannot be met gets nothing, so that halves of needs do not
-- wait for each other.
local lease
local rest = cap - used - others
if again then
  lease = mine.lease
else
  lease = math.max(held, math.min(want, have))
  local free = math.max(0, math.floor(rest - lease))
  if now < quiet then free = 0 end
  local share = math.max(math.ceil(free / (live + 1)), math.min(arg(21), free))
  if need == 0 then
    lease = lease + math.min(want - lease, share)
  elseif free >= least then
    lease = lease + math.min(want - lease, math.max(math.min(need, free), share))
  elseif algorithm == 'bucket' and least > cap and used == 0 and others == 0 and lease == 0 then
    lease = least
  else
    hungry = now + 1000000
    redis.call('HSET', state, 'h', whole(hungry))
  end
  redis.call('HSET', leases, id, string.format('%.0f %.0f %.0f %.0f %.0f %s', seq, spent, lease, now + ttl, now, ARGV[6]))
  redis.call('PEXPIRE', leases, 3660000)
end
redis.call('PEXPIRE', state, whole(math.ceil(keep / 1000)))

local free, wait = math.max(0, math.floor(rest - lease)), 0
if now < quiet then free = 0 end
local wanted = math.max(1, least)
if free < wanted then
  local missing = wanted - (rest - lease)
  if algorithm == 'bucket' and wanted > cap and others == 0 and lease == 0 then missing = used end
  if now < quiet then
    wait = quiet - now
  elseif missing <= used then
    wait = gone(missing)
  end
end
return {lease, math.ceil(used), free, others, live, wait, reset, seen, now, hungry > now and 1 or 0, math.max(0, quiet - now)}

-- id -> ok | missing
local id = unpack(ARGV)
local status = get(id, "status")
if not status then
  return { "missing" }
end
-- The attempt that holds the job is fenced off: it ends within seconds, and what it has recorded stays.
if not ENDED[status] and status ~= "cancelling" then
  leave_queue(id)
  redis.call("ZREM", key("leases"), id)
  set(id, "holder", 0)
  set_status(id, "paused")
end
return { "ok" }

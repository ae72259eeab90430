-- id, ms to keep an ended job -> ok | missing
local id, ttl = unpack(ARGV)
local status = get(id, "status")
if not status then
  return { "missing" }
end
if (status == "queued" or status == "paused") and redis.call("EXISTS", key("job", id, "points")) == 0 then
  leave_queue(id)
  end_job(id, "cancelled", tonumber(ttl))
-- A job with points still gets its best soup so far, even if it waits for another attempt or is paused.
elseif not ENDED[status] and status ~= "cancelling" then
  set_status(id, "cancelling")
  if status == "paused" then
    return_to_queue(id)
  end
end
return { "ok" }

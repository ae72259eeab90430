-- id, ms to keep an ended job -> ok | missing
local id, ttl = unpack(ARGV)
local status = get(id, "status")
if not status then
  return { "missing" }
end
if status == "queued" then
  leave_queue(id)
  end_job(id, "cancelled", tonumber(ttl))
elseif not ENDED[status] and status ~= "cancelling" then
  set_status(id, "cancelling")
end
return { "ok" }

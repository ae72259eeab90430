-- id -> ok | missing | not_ended, status
local id = unpack(ARGV)
local status = get(id, "status")
if not status then
  return { "missing" }
end
if not ENDED[status] then
  return { "not_ended", status }
end
forget_job(id)
return { "ok" }

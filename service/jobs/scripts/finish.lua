-- id, attempt, status, ms to keep the job, result or "", error or "", digest of the model or ""
-- -> ok | missing | fenced
local id, attempt, status, ttl, result, failure, model = unpack(ARGV)
local refused = refusal(id, attempt)
if refused == "fenced" and get(id, "ended_by") == attempt and get(id, "status") == status then
  return { "ok" }
end
if refused then
  return { refused }
end
set(id, "ended_by", attempt)
if result ~= "" then
  set(id, "result", result)
end
if failure ~= "" then
  set(id, "error", failure)
end
if model ~= "" then
  set(id, "model", model)
  refer("models", model)
end
end_job(id, status, tonumber(ttl))
return { "ok" }

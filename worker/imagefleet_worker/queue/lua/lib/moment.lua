-- `moment(text)` reads a time as Celery writes it in `eta`, such as `2026-11-26T19:00:00.5+01:00`: seconds since 1970,
-- or nil if it is no such time. A time without an offset is UTC, as for Celery. `message_check` accepts the same times.
local function moment(text)
  local year, month, day, hour, minute, rest = string.match(text, '^(%d%d%d%d)-(%d%d)-(%d%d)[T ](%d%d):(%d%d)(.*)$')
  if not year then return nil end
  year, month, day, hour, minute = tonumber(year), tonumber(month), tonumber(day), tonumber(hour), tonumber(minute)
  local second, zone = string.match(rest, '^:(%d%d)(.*)$')
  if second and string.match(zone, '^%.%d') then
    local fraction
    fraction, zone = string.match(zone, '^(%.%d+)(.*)$')
    second = second .. fraction
  end
  second, zone = tonumber(second or '0'), zone or rest

  local offset_s = 0
  if zone ~= '' and zone ~= 'Z' then
    local sign, hours, minutes = string.match(zone, '^([+-])(%d%d):?(%d%d)$')
    if not sign or tonumber(hours) > 23 or tonumber(minutes) > 59 then return nil end
    offset_s = tonumber(sign .. '1') * (tonumber(hours) * 3600 + tonumber(minutes) * 60)
  end

  local is_leap = year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)
  local days_in_month = {31, is_leap and 29 or 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}
  if year < 1 or not days_in_month[month] or day < 1 or day > days_in_month[month] then return nil end
  if hour > 23 or minute > 59 or second >= 60 then return nil end

  -- Days since 1970-01-01, with years that begin in March, so that a leap day is the last day of its year.
  local y = month > 2 and year or year - 1
  local day_of_year = math.floor((153 * ((month + 9) % 12) + 2) / 5) + day - 1
  local days = 365 * y + math.floor(y / 4) - math.floor(y / 100) + math.floor(y / 400) + day_of_year - 719468
  return days * 86400 + hour * 3600 + minute * 60 + second - offset_s
end

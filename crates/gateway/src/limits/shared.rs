//! Books and rates that several Garrisons keep in one Redis. Each decision is one script there, so it is taken by one
//! at a time, on the days and seconds of Redis's own clock.
//!
//! What is put aside counts from then on, and a settlement takes back what was too much; so what a process that dies had
//! put aside counts. What is open is remembered for a day, in which it can be settled, once.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use garrison_route::Micros;

use super::calendar::Day;
use super::ledger::{MoneyLimit, NotReserved, Pending, Reservation, Settles, Spent};
use super::rate::{PerMinute, SPAN, Slot, Standing, TooMany, judge, standing};
use crate::redis::{Gone, Redis, Reply, command};

/// Before all names.
const PREFIX: &str = "garrison";

/// KEYS: the key's hash of sums, and the hash of what is open. ARGV: what to put aside, the limits of a day and a month
/// (-1 for none), the reservation's id, and the first and last day of this month by the caller's calendar, by which Redis's
/// day is checked. Gives whether it was put aside, the day, and what was spent on it and in its month.
const RESERVE: &str = r"
local now = tonumber(redis.call('TIME')[1])
local day = math.floor(now / 86400)
local first, last = tonumber(ARGV[5]), tonumber(ARGV[6])
if day < first or day > last then return {-1, day, 0, 0} end
local d = tonumber(redis.call('HGET', KEYS[1], 'd' .. day) or '0')
local m = tonumber(redis.call('HGET', KEYS[1], 'm' .. first) or '0')
local most = tonumber(ARGV[1])
local day_limit, month_limit = tonumber(ARGV[2]), tonumber(ARGV[3])
if (day_limit >= 0 and d + most > day_limit) or (month_limit >= 0 and m + most > month_limit) then
  return {0, day, d, m}
end
if most > 0 or ARGV[4] ~= '' then
  if redis.call('HEXISTS', KEYS[1], 'd' .. day) == 0 then
    for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
      local kind, of = string.sub(name, 1, 1), tonumber(string.sub(name, 2))
      if (kind == 'd' and of < day - 1) or (kind == 'm' and of < first - 31) then redis.call('HDEL', KEYS[1], name) end
    end
  end
  d = redis.call('HINCRBY', KEYS[1], 'd' .. day, most)
  m = redis.call('HINCRBY', KEYS[1], 'm' .. first, most)
  redis.call('EXPIRE', KEYS[1], 5356800)
  redis.call('SET', KEYS[2], day .. ' ' .. first .. ' ' .. most, 'EX', 86400)
end
return {1, day, d, m}
";

/// KEYS: the same. ARGV: what it cost. Gives the day and the sums.
const SETTLE: &str = r"
local open = redis.call('GET', KEYS[2])
if not open then return {0, 0, 0} end
redis.call('DEL', KEYS[2])
local day, first, most = string.match(open, '(%d+) (%d+) (%d+)')
local change = tonumber(ARGV[1]) - tonumber(most)
local function add(name)
  if redis.call('HEXISTS', KEYS[1], name) == 1 then return redis.call('HINCRBY', KEYS[1], name, change) end
  return 0
end
return {tonumber(day), add('d' .. day), add('m' .. first)}
";

/// KEYS: the key's hash of seconds. ARGV: the limits of requests and tokens (-1 for none) and the tokens wanted. Gives
/// whether it is admitted, the time in seconds and millionths, and of each second that counts the requests and tokens
/// before.
const ADMIT: &str = r"
local time = redis.call('TIME')
local now = tonumber(time[1])
local slots, all = {}, redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local kind, second = string.sub(all[i], 1, 1), tonumber(string.sub(all[i], 2))
  if now >= second + 61 then
    redis.call('HDEL', KEYS[1], all[i])
  else
    slots[second] = slots[second] or {0, 0}
    slots[second][kind == 'r' and 1 or 2] = tonumber(all[i + 1])
  end
end
local requests, tokens, told = 0, 0, {}
for second, used in pairs(slots) do
  requests, tokens = requests + used[1], tokens + used[2]
  table.insert(told, second); table.insert(told, used[1]); table.insert(told, used[2])
end
local request_limit, token_limit, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local admitted = 1
if (request_limit >= 0 and requests + 1 > request_limit) or (token_limit >= 0 and tokens + wanted > token_limit) then
  admitted = 0
else
  redis.call('HINCRBY', KEYS[1], 'r' .. now, 1)
  redis.call('HINCRBY', KEYS[1], 't' .. now, wanted)
  redis.call('EXPIRE', KEYS[1], 62)
end
return {admitted, now, tonumber(time[2]), unpack(told)}
";

/// KEYS: the same. ARGV: the second in which a request was admitted, the tokens put aside for it, and those it took. What it
/// took beyond them counts now if that second does not any more.
const SETTLE_TOKENS: &str = r"
local now, second = tonumber(redis.call('TIME')[1]), tonumber(ARGV[1])
local change = tonumber(ARGV[3]) - tonumber(ARGV[2])
if now >= second + 61 then
  second, change = now, math.max(change, 0)
end
redis.call('HINCRBY', KEYS[1], 't' .. second, change)
redis.call('EXPIRE', KEYS[1], 62)
";

/// What became of a wish to put money aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reserved {
    Done,
    NoRoom,
}

/// The books and rates in a Redis.
#[derive(Debug)]
pub(crate) struct SharedBooks {
    redis: Arc<Redis>,
    /// What was last heard of each key: for plans and metrics, never for a decision.
    heard: Mutex<HashMap<String, (Day, Spent)>>,
    ids: RandomState,
    next: std::sync::atomic::AtomicU64,
}

fn limit(amount: Option<Micros>) -> String {
    amount.map_or(-1, |Micros(amount)| i64::try_from(amount).unwrap_or(i64::MAX)).to_string()
}

impl SharedBooks {
    pub(crate) fn new(redis: Arc<Redis>) -> SharedBooks {
        SharedBooks { redis, heard: Mutex::default(), ids: RandomState::new(), next: 0.into() }
    }

    fn heard(&self) -> MutexGuard<'_, HashMap<String, (Day, Spent)>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn spent(&self, key: &str) -> Spent {
        let today = Day::today();
        match self.heard().get(key) {
            Some((day, spent)) if *day == today => *spent,
            Some((day, spent)) if day.first_of_month() == today.first_of_month() => {
                Spent { today: Micros(0), ..*spent }
            }
            Some(_) | None => Spent::default(),
        }
    }

    pub(crate) fn all_spent(&self) -> Vec<(String, Spent)> {
        let keys: Vec<String> = self.heard().keys().cloned().collect();
        keys.into_iter().map(|key| (key.clone(), self.spent(&key))).collect()
    }

    /// Hears what a key has spent, whoever spent it.
    pub(crate) async fn refresh(&self, key: &str) {
        // Nothing is put aside, so there is nothing to be lost.
        let _ = self.script(key, "", Micros(0), MoneyLimit::default()).await;
    }

    pub(crate) async fn reserve(
        &self,
        key: &str,
        most: Micros,
        limit: MoneyLimit,
    ) -> Result<Reservation, NotReserved> {
        let count = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // Drawn, since other processes count, too.
        let id = self.ids.hash_one(count);
        let wanted = Reservation { id: id.cast_signed(), key: key.to_owned(), day: Day::today(), most };
        let pending = Pending::new(self, wanted);
        let reserved = self.script(key, &format!("{id:016x}"), most, limit).await;
        match reserved {
            Ok(Reserved::Done) => pending.done().ok_or(NotReserved::Books),
            Ok(Reserved::NoRoom) => {
                // There is nothing to take back.
                pending.done();
                Err(NotReserved::Budget)
            }
            // It may have been done all the same.
            Err(Gone) => Err(NotReserved::Books),
        }
    }

    async fn script(&self, key: &str, id: &str, most: Micros, money: MoneyLimit) -> Result<Reserved, Gone> {
        let today = Day::today();
        let (first, last) = (today.first_of_month().0, today.next_month().0 - 1);
        let keys = [sums(key), open(id)];
        let asked = command(&[
            "EVAL",
            RESERVE,
            "2",
            &keys[0],
            &keys[1],
            &most.0.to_string(),
            &limit(money.per_day),
            &limit(money.per_month),
            id,
            &first.to_string(),
            &last.to_string(),
        ]);
        let numbers = self.redis.ask(asked).await?.numbers().ok_or(Gone)?;
        let [done, day, today, month] = numbers[..] else { return Err(Gone) };
        if done < 0 {
            tracing::error!(
                "redis has another month than this machine; no money is put aside until they agree"
            );
            return Err(Gone);
        }
        self.hear(key, Day(day.unsigned_abs()), today, month);
        Ok(if done == 1 { Reserved::Done } else { Reserved::NoRoom })
    }

    fn hear(&self, key: &str, day: Day, today: i64, month: i64) {
        let amount = |amount: i64| Micros(u64::try_from(amount).unwrap_or(0));
        let spent = Spent { today: amount(today), month: amount(month) };
        self.heard().insert(key.to_owned(), (day, spent));
    }

    /// Admits a request, by the clock of Redis; with the second in which it was.
    pub(crate) async fn admit(
        &self,
        key: &str,
        limits: PerMinute,
        tokens: u64,
    ) -> Result<Result<(Standing, u64), TooMany>, Gone> {
        let limit = |limit: Option<u64>| limit.map_or("-1".to_owned(), |limit| limit.to_string());
        let asked = command(&[
            "EVAL",
            ADMIT,
            "1",
            &rates(key),
            &limit(limits.requests),
            &limit(limits.tokens),
            &tokens.to_string(),
        ]);
        let numbers = self.redis.ask(asked).await?.numbers().ok_or(Gone)?;
        let (&[admitted, second, micros], slots) = numbers.split_first_chunk::<3>().ok_or(Gone)?;
        let whole = |number: i64| u64::try_from(number).unwrap_or(0);
        let now = Duration::from_secs(whole(second)) + Duration::from_micros(whole(micros));
        let mut slots: Vec<Slot> = slots
            .chunks_exact(3)
            .map(|slot| Slot { second: whole(slot[0]), requests: whole(slot[1]), tokens: whole(slot[2]) })
            .collect();
        if admitted == 1 {
            slots.push(Slot { second: now.as_secs(), requests: 1, tokens });
            return Ok(Ok((standing(&slots, limits, now), now.as_secs())));
        }
        Ok(match judge(&slots, limits, tokens, now) {
            Err(too_many) => Err(too_many),
            // Both judge by the same numbers.
            Ok(()) => return Err(Gone),
        })
    }

    /// A request that was admitted in `second` with `reserved` tokens has taken `used`.
    pub(crate) fn settle_tokens(&self, key: &str, second: u64, reserved: u64, used: u64) {
        if used != reserved {
            let numbers = [second, reserved, used].map(|number| number.to_string());
            let [second, reserved, used] = &numbers;
            // What cannot be told counts as what it might have taken, for a minute.
            let _ =
                self.redis.tell(command(&["EVAL", SETTLE_TOKENS, "1", &rates(key), second, reserved, used]));
        }
    }

    /// Waits until everything that was told before has been heard. False if it was not.
    pub(crate) async fn flush(&self) -> bool {
        matches!(self.redis.ask(command(&["PING"])).await, Ok(Reply::Text(_)))
    }
}

impl Settles for SharedBooks {
    fn settle(&self, reservation: &Reservation, cost: Micros) {
        let (key, id) = (&reservation.key, format!("{:016x}", reservation.id.cast_unsigned()));
        let told =
            self.redis.tell(command(&["EVAL", SETTLE, "2", &sums(key), &open(&id), &cost.0.to_string()]));
        if told.is_none() {
            tracing::error!("a cost could not be told to redis; what was reserved for it counts");
        }
        if let Some((_, spent)) = self.heard().get_mut(key) {
            spent.today = spent.today.less(reservation.most).plus(cost);
            spent.month = spent.month.less(reservation.most).plus(cost);
        }
    }
}

fn sums(key: &str) -> String {
    format!("{PREFIX}:spent:{key}")
}

fn open(id: &str) -> String {
    format!("{PREFIX}:open:{id}")
}

fn rates(key: &str) -> String {
    format!("{PREFIX}:rate:{key}")
}

const _: () = assert!(SPAN == 61, "the script says so, too");

#[cfg(test)]
mod tests {
    use super::*;
    use garrison_testkit::redis::RedisServer;

    #[tokio::test]
    async fn what_ends_after_its_minute_counts_in_the_second_in_which_it_ends() {
        let redis = RedisServer::start().expect("redis-server; scripts/test installs it");
        let books = SharedBooks::new(Redis::new(&redis.url()).unwrap());
        let limits = PerMinute { requests: Some(10), tokens: Some(100) };
        let admit = async || {
            let (standing, second) = books.admit("k", limits, 10).await.unwrap().unwrap();
            (standing.tokens.unwrap().remaining, second)
        };
        let (left, second) = admit().await;
        assert_eq!(left, 90);
        books.settle_tokens("k", second, 10, 4);
        assert_eq!(admit().await.0, 86);
        // Of requests that came longer ago.
        books.settle_tokens("k", second - 61, 10, 40);
        assert_eq!(admit().await.0, 46);
        books.settle_tokens("k", second - 61, 10, 4);
        assert_eq!(admit().await.0, 36);
    }
}

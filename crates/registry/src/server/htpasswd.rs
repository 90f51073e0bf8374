//! Users and their passwords, as `htpasswd -B` writes them: bcrypt and nothing else.
//!
//! One check costs what its hash costs on purpose (about 50 ms at cost 10), so a pair that was right a moment ago is
//! remembered under a keyed hash, few checks run at once, and who guesses wrong too often has to wait. A user
//! that is not there costs exactly as much as one that is.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use cairn_oci::Digest;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::config::{Authenticator, Verdict};

/// Cheapest and dearest cost that is taken (each step doubles it). 4 is bcrypt's own least; 16 takes seconds.
const COSTS: std::ops::RangeInclusive<u32> = 4..=16;
/// How long a pair that was right is not checked again.
const REMEMBERED_FOR: Duration = Duration::from_secs(300);
/// Most pairs that are remembered (about 100 bytes each).
const REMEMBERED: usize = 1024;
/// Most wrong passwords of one address for one user within [`FAILURES_WITHIN`].
const FAILURES: u32 = 10;
/// How long wrong passwords count.
const FAILURES_WITHIN: Duration = Duration::from_secs(60);
/// Most pairs of address and user whose failures are counted.
const COUNTED: usize = 4096;
/// Most checks that wait for their turn. Further ones are told to come again.
const WAITING: usize = 64;
/// Longest user name, in bytes.
const USER_LIMIT: usize = 255;

/// Why a text is not a list of users.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct HtpasswdError {
    /// Which line, counted from 1.
    pub line: usize,
    /// What is wrong with it. It never repeats the hash.
    pub problem: String,
}

/// Users and the hashes of their passwords, which can be replaced while they are used.
pub struct Htpasswd {
    users: RwLock<Arc<Users>>,
    /// Keys the hashes under which right pairs are remembered, so that they are worth nothing elsewhere.
    key: [u8; 32],
    slots: Arc<Semaphore>,
    waiting: Semaphore,
    failures: Mutex<BTreeMap<(IpAddr, String), Failures>>,
}

/// One state of the file.
struct Users {
    hashes: BTreeMap<String, Hash>,
    /// The dearest cost in the file. Every check costs this.
    cost: u32,
    remembered: Mutex<BTreeMap<Digest, Instant>>,
}

struct Hash {
    text: String,
    cost: u32,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    first: Instant,
}

impl fmt::Debug for Htpasswd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Htpasswd({} users)", self.users().hashes.len())
    }
}

impl Htpasswd {
    /// Reads the text of a file. `key` must be random, and `checks` says how many passwords may be checked at once.
    ///
    /// # Errors
    ///
    /// [`HtpasswdError`], with the first line that is wrong.
    pub fn new(text: &str, key: [u8; 32], checks: usize) -> Result<Self, HtpasswdError> {
        Ok(Self {
            users: RwLock::new(Arc::new(Users::parse(text)?)),
            key,
            slots: Arc::new(Semaphore::new(checks.max(1))),
            waiting: Semaphore::new(WAITING),
            failures: Mutex::default(),
        })
    }

    /// Takes another text in place of the one before, and forgets every pair that was right.
    ///
    /// # Errors
    ///
    /// [`HtpasswdError`]; the users before stay.
    pub fn replace(&self, text: &str) -> Result<(), HtpasswdError> {
        let users = Arc::new(Users::parse(text)?);
        *self.users.write().unwrap_or_else(PoisonError::into_inner) = users;
        Ok(())
    }

    fn users(&self) -> Arc<Users> {
        Arc::clone(&self.users.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn failures(&self) -> MutexGuard<'_, BTreeMap<(IpAddr, String), Failures>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long this address has to wait for this user, if it must.
    fn wait(&self, peer: IpAddr, user: &str) -> Option<Duration> {
        let failures = self.failures();
        let found = failures.get(&(network(peer), user.to_owned()))?;
        let left = FAILURES_WITHIN.checked_sub(found.first.elapsed())?;
        (found.count >= FAILURES && !left.is_zero()).then_some(left)
    }

    fn count_failure(&self, peer: IpAddr, user: &str) {
        let mut failures = self.failures();
        failures.retain(|_, found| found.first.elapsed() < FAILURES_WITHIN);
        if failures.len() >= COUNTED {
            let oldest = failures.iter().min_by_key(|(_, found)| found.first);
            let oldest = oldest.map(|(key, _)| key.clone());
            oldest.and_then(|key| failures.remove(&key));
        }
        let entry = failures.entry((network(peer), user.to_owned()));
        entry
            .and_modify(|found| found.count += 1)
            .or_insert_with(|| Failures {
                count: 1,
                first: Instant::now(),
            });
    }
}

/// The address, or for IPv6 the network that one customer has.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let prefix = address.to_bits() & (u128::MAX << 64);
            std::net::Ipv6Addr::from_bits(prefix).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[async_trait]
impl Authenticator for Htpasswd {
    async fn verify(&self, user: &str, password: &str, peer: IpAddr) -> Verdict {
        if user.len() > USER_LIMIT || user.is_empty() {
            return Verdict::Refused;
        }
        let users = self.users();
        let pair = keyed(&self.key, user, password);
        if users.remembers(&pair) {
            return Verdict::Allowed;
        }
        if let Some(left) = self.wait(peer, user) {
            return Verdict::Wait(left);
        }
        let Ok(_waiting) = self.waiting.try_acquire() else {
            return Verdict::Wait(Duration::from_secs(1));
        };
        let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else {
            return Verdict::Refused;
        };
        let (checked, name, password) = (Arc::clone(&users), user.to_owned(), password.to_owned());
        let check = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            checked.check(&name, &password)
        });
        if check.await.unwrap_or(false) {
            users.remember(pair);
            return Verdict::Allowed;
        }
        self.count_failure(peer, user);
        Verdict::Refused
    }
}

impl Users {
    fn parse(text: &str) -> Result<Self, HtpasswdError> {
        let mut hashes = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |problem: String| HtpasswdError {
                line: number + 1,
                problem,
            };
            let (user, hash) = parse_line(line).map_err(wrong)?;
            if hashes.insert(user.clone(), hash).is_some() {
                return Err(wrong(format!("the user `{user}` is there twice")));
            }
        }
        let cost = hashes.values().map(|hash: &Hash| hash.cost).max().unwrap_or(10);
        Ok(Self {
            hashes,
            cost,
            remembered: Mutex::default(),
        })
    }

    /// Whether the password is the user's. Costs the same whether the user is there or not: what a cheaper hash saves
    /// is spent on nothing.
    fn check(&self, user: &str, password: &str) -> bool {
        let hash = self.hashes.get(user);
        let is_right = hash.is_some_and(|hash| bcrypt::verify(password, &hash.text).unwrap_or(false));
        self.wasted(hash).for_each(|cost| waste(cost, password));
        is_right
    }

    /// The costs that are spent beside a user's own hash: 2^c for that, and 2^c + … + 2^(dearest - 1) here, make
    /// 2^dearest, which is also what somebody who is not there costs.
    fn wasted(&self, hash: Option<&Hash>) -> std::ops::Range<u32> {
        match hash {
            Some(hash) => hash.cost..self.cost,
            None => self.cost..self.cost + 1,
        }
    }

    fn remembered(&self) -> MutexGuard<'_, BTreeMap<Digest, Instant>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remembers(&self, pair: &Digest) -> bool {
        self.remembered()
            .get(pair)
            .is_some_and(|since| since.elapsed() < REMEMBERED_FOR)
    }

    fn remember(&self, pair: Digest) {
        let mut remembered = self.remembered();
        if remembered.len() >= REMEMBERED {
            remembered.retain(|_, since| since.elapsed() < REMEMBERED_FOR);
        }
        if remembered.len() >= REMEMBERED {
            let oldest = remembered.iter().min_by_key(|(_, since)| **since);
            let oldest = oldest.map(|(pair, _)| *pair);
            oldest.and_then(|pair| remembered.remove(&pair));
        }
        remembered.insert(pair, Instant::now());
    }
}

/// Spends the time of one hash.
fn waste(cost: u32, password: &str) {
    std::hint::black_box(bcrypt::hash_with_salt(password, cost, [0; 16]).is_ok());
}

fn parse_line(line: &str) -> Result<(String, Hash), String> {
    let Some((user, text)) = line.split_once(':') else {
        return Err("not `user:hash`".to_owned());
    };
    if user.is_empty() || user.len() > USER_LIMIT || user.contains(char::is_control) {
        return Err("the name of the user is empty, too long, or not text".to_owned());
    }
    let is_bcrypt = ["$2a$", "$2b$", "$2y$"]
        .iter()
        .any(|prefix| text.starts_with(prefix));
    if !is_bcrypt {
        return Err(format!(
            "the password of `{user}` is not hashed with bcrypt, the only way that is taken: htpasswd -B"
        ));
    }
    let parts: Result<bcrypt::HashParts, _> = text.parse();
    let parts = parts.map_err(|_| format!("the hash of `{user}` is damaged"))?;
    let cost = parts.get_cost();
    if !COSTS.contains(&cost) {
        let (least, most) = COSTS.into_inner();
        return Err(format!(
            "the hash of `{user}` has the cost {cost}; {least} to {most} are taken"
        ));
    }
    let text = text.to_owned();
    Ok((user.to_owned(), Hash { text, cost }))
}

/// Names the pair in memory. The length keeps two pairs with the same letters apart.
fn keyed(key: &[u8; 32], user: &str, password: &str) -> Digest {
    let mut hasher = cairn_oci::Hasher::new();
    hasher.update(key);
    hasher.update(&(user.len() as u64).to_be_bytes());
    hasher.update(user.as_bytes());
    hasher.update(password.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn line(user: &str, password: &str, cost: u32) -> String {
        let hash = bcrypt::hash(password, cost).unwrap();
        format!("{user}:{hash}\n")
    }

    fn users(text: &str) -> Htpasswd {
        Htpasswd::new(text, [7; 32], 2).unwrap()
    }

    #[tokio::test]
    async fn right_pairs_are_let_in_and_all_others_are_not() {
        let text = format!(
            "# people\n\n{}{}",
            line("ann", "secret", 4),
            line("bob", "other", 5)
        );
        let list = users(&text);
        assert_eq!(list.verify("ann", "secret", PEER).await, Verdict::Allowed);
        assert_eq!(list.verify("bob", "other", PEER).await, Verdict::Allowed);
        for (user, password) in [("ann", "other"), ("ann", ""), ("", "secret"), ("eve", "secret")] {
            assert_eq!(
                list.verify(user, password, PEER).await,
                Verdict::Refused,
                "{user}"
            );
        }
        assert_eq!(format!("{list:?}"), "Htpasswd(2 users)");
    }

    #[test]
    fn somebody_who_is_not_there_costs_the_same() {
        let list = users(&[line("a", "x", 4), line("b", "x", 5), line("c", "x", 7)].concat());
        let users = list.users();
        for name in ["a", "b", "c", "nobody"] {
            let hash = users.hashes.get(name);
            let own = hash.map_or(0, |hash| 1_u64 << hash.cost);
            let wasted: u64 = users.wasted(hash).map(|cost| 1 << cost).sum();
            assert_eq!(own + wasted, 1 << 7, "{name}");
        }
    }

    /// Apache's htpasswd writes `$2y$`.
    #[tokio::test]
    async fn the_spellings_of_others_are_read() {
        let ours = line("ann", "secret", 4);
        for spelling in ["$2a$", "$2b$", "$2y$"] {
            let list = users(&ours.replacen("$2b$", spelling, 1));
            assert_eq!(
                list.verify("ann", "secret", PEER).await,
                Verdict::Allowed,
                "{spelling}"
            );
        }
    }

    #[test]
    fn lines_that_cannot_be_right_are_named() {
        let good = line("ann", "secret", 4);
        for (text, expected) in [
            ("ann".to_owned(), "line 1: not `user:hash`"),
            (
                format!("{good}bob:{{SHA}}x"),
                "line 2: the password of `bob` is not hashed with bcrypt",
            ),
            ("bob:$apr1$x$y".to_owned(), "not hashed with bcrypt"),
            (
                "bob:$2y$04$short".to_owned(),
                "line 1: the hash of `bob` is damaged",
            ),
            (good.replacen("$04$", "$31$", 1), "cost 31; 4 to 16"),
            (format!("{good}{good}"), "line 2: the user `ann` is there twice"),
            (":$2y$".to_owned(), "the name of the user is empty"),
        ] {
            let error = Htpasswd::new(&text, [7; 32], 1).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pair_that_was_right_is_remembered_until_the_file_changes() {
        let list = users(&line("ann", "secret", 4));
        assert_eq!(list.verify("ann", "secret", PEER).await, Verdict::Allowed);
        let pair = keyed(&list.key, "ann", "secret");
        assert!(list.users().remembers(&pair));
        assert!(!list.users().remembers(&keyed(&list.key, "an", "nsecret")));
        assert!(!list.users().remembers(&keyed(&[8; 32], "ann", "secret")));
        tokio::time::advance(REMEMBERED_FOR).await;
        assert!(!list.users().remembers(&pair));
        assert_eq!(list.verify("ann", "secret", PEER).await, Verdict::Allowed);
        list.replace(&line("ann", "changed", 4)).unwrap();
        assert_eq!(list.verify("ann", "secret", PEER).await, Verdict::Refused);
        assert_eq!(list.verify("ann", "changed", PEER).await, Verdict::Allowed);
        assert!(list.replace("nonsense").is_err());
        assert_eq!(list.verify("ann", "changed", PEER).await, Verdict::Allowed);
    }

    #[tokio::test(start_paused = true)]
    async fn who_guesses_too_often_has_to_wait() {
        let list = users(&line("ann", "secret", 4));
        let elsewhere = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
        assert_eq!(list.verify("ann", "secret", elsewhere).await, Verdict::Allowed);
        for _ in 0..FAILURES {
            assert_eq!(list.verify("ann", "guess", PEER).await, Verdict::Refused);
        }
        assert!(matches!(
            list.verify("ann", "guess", PEER).await,
            Verdict::Wait(_)
        ));
        // Whoever is known stays in, and others are not kept out by this one.
        assert_eq!(list.verify("ann", "secret", PEER).await, Verdict::Allowed);
        assert_eq!(list.verify("ann", "guess", elsewhere).await, Verdict::Refused);
        assert_eq!(list.verify("bob", "guess", PEER).await, Verdict::Refused);
        tokio::time::advance(FAILURES_WITHIN).await;
        assert_eq!(list.verify("ann", "guess", PEER).await, Verdict::Refused);
    }

    #[test]
    fn failures_of_many_are_counted_in_bounded_memory() {
        let list = users("");
        for number in 0..2 * COUNTED {
            list.count_failure(PEER, &number.to_string());
        }
        assert_eq!(list.failures().len(), COUNTED);
        let (a, b) = ("2001:db8::1".parse().unwrap(), "2001:db8::2:1".parse().unwrap());
        assert_eq!(network(a), network(b));
        assert_eq!(network("::ffff:127.0.0.1".parse().unwrap()), PEER);
    }
}

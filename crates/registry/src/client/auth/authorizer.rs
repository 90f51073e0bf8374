//! One registry: what it asks for, and the tokens that it took.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cairn_oci::RepositoryName;
use http::header::HeaderValue;
use http::{HeaderMap, StatusCode};
use reqwest::{Response, Url};
use tokio::time::Instant;

use super::attempt::{Attempt, Authorization, Standing, Token, own};
use super::challenge::{self, Challenge};
use super::credentials::{Credential, CredentialsError};
use super::realm::{self, RealmError};
use super::scope::{Access, Action, Scopes};
use super::token::{Grant, TokenError, TokenRequest, TokenServer};
use crate::client::transport::Transport;
use crate::client::{ClientConfig, SetupError, origin};

/// Most tokens that are kept for one registry.
const TOKEN_LIMIT: usize = 256;
/// A token is renewed when a quarter of its life is left, and not earlier than this before its end.
const EARLIEST_RENEWAL: Duration = Duration::from_secs(30);
/// Longest list of scopes that is remembered for one kind of request, in bytes (8 KiB).
const LEARNED_LIMIT: usize = 8 << 10;
/// How often one request is repeated because its authorization was not accepted: once for a token that has ended,
/// once for one that did not suffice.
const ROUNDS: usize = 2;

/// Why a request could not be authorized.
#[derive(Debug, thiserror::Error)]
pub(in crate::client) enum AuthError {
    /// The credentials could not be looked up.
    #[error("no credentials can be had")]
    Credentials(#[source] CredentialsError),
    /// The registry names a token server that is not asked.
    #[error(transparent)]
    Realm(RealmError),
    /// The token server gave no token.
    #[error(transparent)]
    Token(TokenError),
    /// A token ended, and the body of the request is too far gone to be sent again.
    #[error("the token was no longer accepted when the upload had begun; nothing was written")]
    Late,
    /// HTTPS to the token server could not be set up.
    #[error("cannot set up HTTPS connections")]
    Setup(#[source] SetupError),
}

/// How a registry wants to be told who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Scheme {
    Basic,
    Bearer(TokenServer),
}

#[derive(Debug, Default)]
struct State {
    scheme: Option<Scheme>,
    accounts: BTreeMap<Option<RepositoryName>, Option<Credential>>,
    tokens: Vec<Token>,
    /// What challenges added to what a request is known to need.
    learned: BTreeMap<(RepositoryName, Action), Scopes>,
    /// Connections to token servers, by their origin.
    transports: BTreeMap<String, Arc<Transport>>,
}

/// Authorizes the requests to one registry.
#[derive(Debug)]
pub(in crate::client) struct Authorizer {
    host: String,
    base: Url,
    config: Arc<ClientConfig>,
    state: Mutex<State>,
    /// Held while credentials are looked up: no helper is asked twice at once.
    looking: tokio::sync::Mutex<()>,
    /// Held while a token is asked for: the requests that wait need the same one.
    asking: tokio::sync::Mutex<()>,
}

impl Authorizer {
    pub(in crate::client) fn new(host: String, base: Url, config: Arc<ClientConfig>) -> Self {
        Self {
            host,
            base,
            config,
            state: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first attempt of a request for `url`.
    pub(in crate::client) async fn begin(&self, access: &Access, url: &Url) -> Result<Attempt, AuthError> {
        let authorization = match self.owns(url) {
            true => self.known(access).await?,
            false => Authorization::Nothing,
        };
        Ok(Attempt {
            access: access.clone(),
            authorization,
            rounds: ROUNDS,
        })
    }

    /// Whether the request should be sent once more after `answer`; `attempt` is then the next one.
    pub(in crate::client) async fn again(
        &self,
        attempt: &mut Attempt,
        answer: &Response,
    ) -> Result<bool, AuthError> {
        self.remember(&attempt.authorization, answer);
        if attempt.rounds == 0 {
            return Ok(false);
        }
        attempt.rounds -= 1;
        match self.next(&attempt.access, &attempt.authorization, answer).await? {
            Some(next) => {
                attempt.authorization = next;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// Writes into the answer as whom the request was sent.
    pub(in crate::client) fn sign(&self, attempt: &Attempt, answer: &mut Response) {
        let mut sent = attempt.authorization.sent();
        if !self.owns(answer.url()) {
            sent.standing = Standing::Elsewhere;
        }
        answer.extensions_mut().insert(sent);
    }

    /// Whether the URL belongs to this registry: to nothing else goes any authorization.
    fn owns(&self, url: &Url) -> bool {
        origin::is_same(&self.base, url)
    }

    /// A password that was right is sent with the first attempt from now on.
    fn remember(&self, authorization: &Authorization, answer: &Response) {
        let is_right = answer.status() != StatusCode::UNAUTHORIZED && self.owns(answer.url());
        if is_right && matches!(authorization, Authorization::Own(..)) {
            self.state().scheme = Some(Scheme::Basic);
        }
    }

    /// The authorization of a first attempt: what this registry is known to want.
    async fn known(&self, access: &Access) -> Result<Authorization, AuthError> {
        let scheme = self.state().scheme.clone();
        match scheme {
            None => Ok(Authorization::Nothing),
            Some(Scheme::Basic) => {
                let account = self.account(access.repository()).await?;
                Ok(account.as_ref().and_then(own).unwrap_or(Authorization::Nothing))
            }
            Some(Scheme::Bearer(server)) => match self.needed(access) {
                Some(scopes) => self.token(&server, &scopes, access, None).await,
                None => Ok(Authorization::Nothing),
            },
        }
    }

    /// The scopes that a request needs, by its kind and by what challenges said. `None`: only a challenge can say.
    fn needed(&self, access: &Access) -> Option<Scopes> {
        let learned = access
            .wanted()
            .and_then(|key| self.state().learned.get(key).cloned());
        match (access.scopes(), learned) {
            (Some(scopes), Some(learned)) => Some(scopes.merged(learned)),
            (scopes, learned) => scopes.or(learned),
        }
    }

    /// What to try after `answer`; nothing, if it is no 401 of this registry, or there is nothing else to try.
    async fn next(
        &self,
        access: &Access,
        sent: &Authorization,
        answer: &Response,
    ) -> Result<Option<Authorization>, AuthError> {
        if !self.owns(answer.url()) {
            return Ok(None);
        }
        let challenges = challenge::parse(answer.headers());
        let wants_more = answer.status() == StatusCode::FORBIDDEN
            && challenges.iter().any(|challenge| sent.lacks_scopes(challenge));
        if answer.status() != StatusCode::UNAUTHORIZED && !wants_more {
            return Ok(None);
        }
        let with_scheme = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        let account = self.account(access.repository()).await?;
        if let Some(Credential::Token(_)) = &account {
            let is_first = matches!(sent, Authorization::Nothing);
            return Ok(account.as_ref().and_then(own).filter(|_| is_first));
        }
        let mut refused = None;
        if let Some(challenge) = with_scheme("bearer") {
            match self.token_server(challenge) {
                Ok(server) => return self.bearer(access, sent, server, challenge).await,
                Err(error) => refused = Some(error),
            }
        }
        // Who says 401 and not how gets what belongs to him anyway.
        if with_scheme("basic").is_some() || challenges.is_empty() {
            let is_first = !matches!(sent, Authorization::Own(..));
            return Ok(account.as_ref().and_then(own).filter(|_| is_first));
        }
        match refused {
            Some(error) => Err(AuthError::Realm(error)),
            None => Ok(None),
        }
    }

    fn token_server(&self, challenge: &Challenge) -> Result<TokenServer, RealmError> {
        let realm = challenge.get("realm").unwrap_or_default();
        Ok(TokenServer {
            realm: realm::check(&self.base, realm, self.config.plain_http)?,
            service: challenge.get("service").map(str::to_owned),
        })
    }

    async fn bearer(
        &self,
        access: &Access,
        sent: &Authorization,
        server: TokenServer,
        challenge: &Challenge,
    ) -> Result<Option<Authorization>, AuthError> {
        let stated = Scopes::parse(challenge.get("scope").unwrap_or_default());
        let needed = self.learn(access, stated);
        let stale = match sent {
            Authorization::Token { token, fresh } if token.server == server => {
                if *fresh && token.scopes.covers(&needed) {
                    return Ok(None);
                }
                Some(&token.header)
            }
            _ => None,
        };
        self.state().scheme = Some(Scheme::Bearer(server.clone()));
        self.token(&server, &needed, access, stale).await.map(Some)
    }

    /// The scopes that a request needs now that a challenge has said `stated`; the next request of its kind asks for
    /// them at once.
    fn learn(&self, access: &Access, stated: Scopes) -> Scopes {
        let known = self.needed(access);
        if stated.is_empty() {
            return known.unwrap_or_else(|| access.default_scopes());
        }
        let needed = known.clone().unwrap_or_default().merged(stated.clone());
        let is_new = known.as_ref() != Some(&needed) && !access.is_mount();
        if let Some(key) = access.wanted().filter(|_| is_new) {
            let mut state = self.state();
            let learned = state.learned.entry(key.clone()).or_default();
            let both = std::mem::take(learned).merged(stated.clone());
            // A registry that wants something new each time is not remembered for ever.
            *learned = if both.length() > LEARNED_LIMIT {
                stated
            } else {
                both
            };
        }
        needed
    }

    /// A token for `scopes`: one that is there and was not just refused, else a new one.
    async fn token(
        &self,
        server: &TokenServer,
        scopes: &Scopes,
        access: &Access,
        stale: Option<&HeaderValue>,
    ) -> Result<Authorization, AuthError> {
        self.forget(stale);
        let fresh = |token: Token, fresh: bool| Authorization::Token { token, fresh };
        if let Some(token) = self.cached(server, scopes) {
            return Ok(fresh(token, false));
        }
        let _one_at_a_time = self.asking.lock().await;
        if let Some(token) = self.cached(server, scopes) {
            return Ok(fresh(token, false));
        }
        let account = self.account(access.repository()).await?;
        let transport = self.transport(server)?;
        let request = TokenRequest {
            transport: &transport,
            server,
            scopes,
            credential: account.as_ref(),
        };
        let asked = Instant::now();
        let grant = request.send().await.map_err(AuthError::Token)?;
        Ok(fresh(
            self.keep(server, scopes, access, account, asked, grant),
            true,
        ))
    }

    fn keep(
        &self,
        server: &TokenServer,
        scopes: &Scopes,
        access: &Access,
        account: Option<Credential>,
        asked: Instant,
        grant: Grant,
    ) -> Token {
        let early = (grant.life / 4).min(EARLIEST_RENEWAL);
        let token = Token {
            server: server.clone(),
            scopes: scopes.clone(),
            header: grant.header,
            secret: grant.secret,
            is_ours: account.is_some(),
            renew: asked + grant.life.saturating_sub(early),
        };
        let mut state = self.state();
        if let (Some(Credential::Identity(mut identity)), Some(next)) = (account, grant.next) {
            // A server that gives out a new identity token may take the old one no longer.
            identity.token = next;
            let key = access.repository().cloned();
            state.accounts.insert(key, Some(Credential::Identity(identity)));
        }
        if state.tokens.len() >= TOKEN_LIMIT {
            state.tokens.remove(0);
        }
        state.tokens.push(token.clone());
        token
    }

    /// A token that lives, from this server and for at least these scopes.
    fn cached(&self, server: &TokenServer, scopes: &Scopes) -> Option<Token> {
        let now = Instant::now();
        let mut state = self.state();
        state.tokens.retain(|token| token.renew > now);
        let fits = |token: &&Token| {
            // One that is good for nothing in particular is not one that is good for everything.
            token.server == *server
                && token.scopes.covers(scopes)
                && token.scopes.is_empty() == scopes.is_empty()
        };
        state.tokens.iter().find(fits).cloned()
    }

    fn forget(&self, stale: Option<&HeaderValue>) {
        if let Some(stale) = stale {
            self.state().tokens.retain(|token| token.header != stale);
        }
    }

    /// Our credentials for a repository, looked up once.
    async fn account(&self, repository: Option<&RepositoryName>) -> Result<Option<Credential>, AuthError> {
        let key = repository.cloned();
        let _one_at_a_time = self.looking.lock().await;
        if let Some(known) = self.state().accounts.get(&key) {
            return Ok(known.clone());
        }
        let found = self.config.credentials.find(&self.host, repository).await;
        let found = found.map_err(AuthError::Credentials)?;
        self.state().accounts.insert(key, found.clone());
        Ok(found)
    }

    fn transport(&self, server: &TokenServer) -> Result<Arc<Transport>, AuthError> {
        let origin = server.realm.origin().ascii_serialization();
        if let Some(known) = self.state().transports.get(&origin) {
            return Ok(Arc::clone(known));
        }
        let new = Transport::new(Arc::clone(&self.config), &server.realm).map_err(AuthError::Setup)?;
        let new = Arc::new(new);
        self.state().transports.insert(origin, Arc::clone(&new));
        Ok(new)
    }
}

/// The authentication schemes that an answer names.
pub(in crate::client) fn schemes(headers: &HeaderMap) -> Vec<String> {
    let challenges = challenge::parse(headers).into_iter();
    challenges.map(|challenge| challenge.scheme).collect()
}
